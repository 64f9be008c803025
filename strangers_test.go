package peft_test

import (
	"slices"
	"testing"

	"github.com/gopeft/peft"
)

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
