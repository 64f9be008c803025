package peft

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
)

// TestShared: requests that come together to an engine that has read nothing yet get one combination, so that their rows are
// routed together.
func TestShared(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "registry")
	open := func() *Engine {
		e, err := Open(Options{Registry: dir, Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	data := []string{"examples/quickstart/manual/manual.md"}
	if _, err := e.AddExperts(ctx, "set", AddOptions{Data: data, Experts: 100}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open()
	defer e.Close()
	got := make([]*combination, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if _, got[i], err = e.withSets(ctx, []string{"set"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, c := range got {
		if c == nil || c != got[0] {
			t.Fatalf("request %d has a combination of its own: %p, %p", i, c, got[0])
		}
	}
}
