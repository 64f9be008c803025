package study

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/bench/record"
)

func newStudy(t *testing.T, dir string, settings any) *Study {
	t.Helper()
	s := &Study{Base: "builtin", Work: dir, Out: dir, name: "trial"}
	if err := s.Open(settings); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDo wants a unit that is done not to be done again, by a later study neither, and one to wait when the time is over.
func TestDo(t *testing.T) {
	dir, ctx, did := t.TempDir(), context.Background(), 0
	unit := func() (int, error) { did++; return 7, nil }
	for range 2 {
		s := newStudy(t, dir, map[string]int{"steps": 3})
		for range 2 {
			if v, err := Do(ctx, s, "a", unit); v != 7 || err != nil {
				t.Fatal(v, err)
			}
		}
		s.end = time.Now().Add(-time.Second)
		if _, err := Do(ctx, s, "b", unit); !errors.Is(err, record.ErrEnough) {
			t.Error(err)
		}
	}
	if did != 1 {
		t.Errorf("done %d times", did)
	}
	other := &Study{Base: "builtin", Work: dir, name: "trial"}
	if err := other.Open(map[string]int{"steps": 4}); err == nil {
		t.Error("results of other settings were taken")
	}
}

// TestSection wants a section to replace itself alone.
func TestSection(t *testing.T) {
	dir := t.TempDir()
	a, b := &Study{Out: dir, name: "a"}, &Study{Out: dir, name: "b"}
	for _, err := range []error{a.Section("old"), b.Section("beside"), a.Section("new")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "learning.md"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); strings.Contains(s, "old") || !strings.Contains(s, "new") || strings.Count(s, "beside") != 1 {
		t.Error(s)
	}
}
