package peft_test

import (
	"slices"
	"testing"

	"github.com/gopeft/peft"
)

// TestOthersAreReadOnce: other sets' text is read for the first gate that is told apart from it, and the next is the same as that of
// an engine that reads it again.
func TestOthersAreReadOnce(t *testing.T) {
	var read []string
	e := openWith(t, peft.Options{Progress: func(p peft.Progress) { read = append(read, p.Task) }})
	add := func(e *peft.Engine, name, data string) *peft.GateInfo {
		t.Helper()
		read = nil
		if _, err := e.AddExperts(ctx, name, peft.AddOptions{Data: []string{data}}); err != nil {
			t.Fatal(err)
		}
		s, err := e.Show(name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Gate
	}
	const other, judges = "examples/quickstart/manual/manual.md", "judge a@1"
	add(e, "a", tidal)
	first := add(e, "b", other)
	if !slices.Contains(read, judges) {
		t.Errorf("a's text is not read for b: %q", read)
	}
	if err := e.Remove(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	again := add(e, "b", other)
	if slices.Contains(read, judges) {
		t.Errorf("a's text is read again: %q", read)
	}
	if len(again.Thresholds) == 0 || !slices.Equal(again.Thresholds, first.Thresholds) || !slices.Equal(again.Others, first.Others) {
		t.Errorf("gate %+v, at first %+v", again, first)
	}
}

// TestStrangersAreReadOnce: what no set calls its own is read for the first gate alone, and the second is the same as that of
// an engine that reads it for it.
func TestStrangersAreReadOnce(t *testing.T) {
	var read []string
	count := peft.Options{Progress: func(p peft.Progress) {
		if p.Done == p.Total {
			read = append(read, p.Task)
		}
	}}
	gate := func(e *peft.Engine, name string, wants bool) *peft.GateInfo {
		t.Helper()
		read = nil
		if _, err := e.AddExperts(ctx, name, peft.AddOptions{Data: []string{tidal}}); err != nil {
			t.Fatal(err)
		}
		for _, task := range []string{"judge background", "judge passages", "judge questions"} {
			if slices.Contains(read, task) != wants {
				t.Errorf("%s: %s is there: %t", name, task, !wants)
			}
		}
		s, err := e.Show(name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Gate
	}
	e := openWith(t, count)
	gate(e, "a", true)
	if err := e.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	again, first := gate(e, "b", false), gate(openWith(t, count), "b", true)
	if len(again.Thresholds) == 0 || !slices.Equal(again.Thresholds, first.Thresholds) || !slices.Equal(again.Others, first.Others) {
		t.Errorf("gate %+v of the second set, %+v of the same as a first", again, first)
	}
}
