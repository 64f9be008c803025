package peft

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
)

// opened is an engine on the built-in base with one thread, for the tests inside the package.
func opened(t *testing.T) *Engine {
	t.Helper()
	e, err := Open(Options{Registry: filepath.Join(t.TempDir(), "registry"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestGateTable: while the registry stays as it is, a request reads no set's record; what changes is seen by the next one.
func TestGateTable(t *testing.T) {
	ctx := context.Background()
	e := opened(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	add := func(name string) {
		t.Helper()
		_, err := e.AddExperts(ctx, name, AddOptions{Data: []string{"examples/quickstart/manual/manual.md"}, Experts: 100})
		must(err)
	}
	refs := func(a *auto) (list []string) {
		for _, g := range a.gates {
			list = append(list, g.ref)
		}
		return list
	}
	want := func(what string, want ...string) *auto {
		t.Helper()
		a, err := e.newAuto(ctx, nil)
		must(err)
		if got := refs(a); !slices.Equal(got, want) {
			t.Errorf("%s: auto decides between %q, want %q", what, got, want)
		}
		return a
	}
	add("a")
	add("b")
	first := want("two sets", "a@1", "b@1")
	if again := want("again", "a@1", "b@1"); &again.gates[0] != &first.gates[0] {
		t.Error("the gates were looked up again although nothing changed")
	}
	named := func() {
		a, err := e.newAuto(ctx, []string{"b"})
		must(err)
		if a.gates[0] != first.gates[1] || len(a.gates) != 1 {
			t.Errorf("named: %q", refs(a))
		}
	}
	if n := testing.AllocsPerRun(20, named); n > 60 { // a record alone takes hundreds
		t.Errorf("a request between named sets allocates %g times", n)
	}
	before := e.reg.Snapshot()
	defer before.Close()
	add("c")
	want("a new one", "a@1", "b@1", "c@1")
	_, err := e.Regate(ctx, "a")
	must(err)
	want("another revision", "a@2", "b@1", "c@1")
	_, err = e.Rollback(ctx, "a", 1)
	must(err)
	must(e.Remove(ctx, "b"))
	want("rolled back, removed", "a@1", "c@1")
	old, err := e.newAutoIn(ctx, before, nil)
	must(err)
	if got := refs(old); !slices.Equal(got, []string{"a@1", "b@1"}) {
		t.Errorf("a request that began before decides between %q", got)
	}
	want("then", "a@1", "c@1")
	if names, err := e.Gated(ctx); err != nil || !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("%q, %v", names, err)
	}
}
