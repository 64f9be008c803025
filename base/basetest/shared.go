// Package basetest finds what tests read beside the repository.
package basetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Shared returns the path of a file or directory of the reference data, which stands in shared beside the repository or
// where PEFT_SHARED says. Without it the test is skipped, but in CI it fails.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("PEFT_SHARED")
	if dir == "" {
		dir = filepath.Join(filepath.Dir(root(t)), "shared")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("reference data: %v", err)
		}
		t.Skipf("no reference data beside the repository, nor where PEFT_SHARED says: %v", err)
	}
	return path
}

// root returns the module's directory.
func root(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above ", wd)
		}
	}
}
