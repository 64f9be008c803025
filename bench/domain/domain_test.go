package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/bench/record"
)

// TestReport wants a table for each base, rows in order of the experts, and the mean change.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	u, err := record.Open[result](filepath.Join(dir, "units.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, unit := range []string{"two/32", "two/16", "one/16"} {
		base, _, _ := strings.Cut(unit, "/")
		u.Done[unit] = result{Base: base, SubKeys: []int{32, 16, 16}[i], Texts: []change{{"x", 100, 50}, {"y", 100, 200}}}
	}
	if err := report(u, dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "learning.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if at := []int{strings.Index(text, "### On one"), strings.Index(text, "### On two"), strings.Index(text, "| 1024 | 50.00 | 200.00 | +0.0 %")}; at[0] < 0 || at[1] < at[0] || at[2] < at[1] {
		t.Errorf("places %v in\n%s", at, text)
	}
}
