package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnits wants a unit that is done not to be done again, nor one that failed to be kept.
func TestUnits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "units.json")
	calls := 0
	work := func() (int, error) { calls++; return 40 + calls, nil }
	for range 2 {
		u, err := Open[int](path)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if v, err := u.Do("one", work); err != nil || v != 41 {
				t.Fatalf("%d, %v; want 41", v, err)
			}
		}
		failed := errors.New("failed")
		if _, err := u.Do("two", func() (int, error) { return 0, failed }); !errors.Is(err, failed) {
			t.Errorf("%v, want the work's error", err)
		}
		if len(u.Done) != 1 {
			t.Errorf("%d units are kept, want 1", len(u.Done))
		}
	}
	if calls != 1 {
		t.Errorf("the work was done %d times", calls)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open[int](path); err == nil {
		t.Error("half a file passes")
	}
}

// TestSection writes two programs' sections twice around text of others, which stays.
func TestSection(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# Mine\n\nbefore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"old", "new"} {
		for _, program := range []string{"one", "two"} {
			if err := Section(page, program, "## "+program+"\n\n"+text+" text\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"# Mine\n\nbefore\n": 1, "## one\n\nnew text": 1, "## two\n\nnew text": 1, "old": 0, "bench/one": 1} {
		if got := strings.Count(string(b), want); got != n {
			t.Errorf("%q is there %d times, want %d, in\n%s", want, got, n, b)
		}
	}
	if err := os.WriteFile(page, []byte("<!-- one: end -->"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Section(page, "one", ""); err == nil {
		t.Error("half a section passes")
	}
}
