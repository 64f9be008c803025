package peft_test

import (
	"errors"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// TestPlacement takes sets of one registry through what places and moves experts.
func TestPlacement(t *testing.T) {
	e := open(t)
	t.Run("grow and prune", func(t *testing.T) { growAndPrune(t, e) })
	t.Run("scale", func(t *testing.T) { scale(t, e) })
	t.Run("placing", func(t *testing.T) { placing(t, e) })
}

// growAndPrune takes a set through training, growth, training of what is new, and pruning.
func growAndPrune(t *testing.T, e *peft.Engine) {
	o := short
	o.Experts = 100
	if _, err := e.Finetune(ctx, "a", o); err != nil {
		t.Fatal(err)
	}
	first := eval(t, e, "a")
	grown, err := e.Grow(ctx, "a", peft.GrowOptions{Experts: 60})
	if err != nil {
		t.Fatal(err)
	}
	if grown.Experts != 160 || grown.Parent == 0 || grown.Training == nil || grown.Training.Ratio != 4 || grown.Training.Beta1 != 0.5 {
		t.Errorf("grown to %+v", grown)
	}
	if eval(t, e, "a").LogitsSHA256 != first.LogitsSHA256 {
		t.Error("growing changed what the set computes")
	}
	o.OnlyNew = true
	if _, err := e.Finetune(ctx, "a", o); err != nil {
		t.Fatal(err)
	}
	if second := eval(t, e, "a"); second.Perplexity >= first.Perplexity {
		t.Errorf("perplexity %v with the new experts trained, %v without", second.Perplexity, first.Perplexity)
	}
	if _, err := e.Finetune(ctx, "a", o); err == nil {
		t.Error("trained only new experts when there were none")
	}
	all := eval(t, e, "a")
	less, err := e.Prune(ctx, "a", 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if less.Experts >= 100 || less.Experts < 80 || less.Training.Kept != 0.5 {
		t.Errorf("pruned to %d experts, %+v", less.Experts, less.Training)
	}
	if eval(t, e, "a").LogitsSHA256 == all.LogitsSHA256 || eval(t, e, "a@2").LogitsSHA256 != first.LogitsSHA256 {
		t.Error("pruning changed nothing, or an earlier revision")
	}
	if again, err := e.Prune(ctx, "a", 0.5); err != nil || again.Training.Kept != 0.25 {
		t.Errorf("pruned twice: %+v, %v", again, err)
	}
	if _, err := e.Prune(ctx, "a@2", 0.5); err == nil {
		t.Error("pruned an earlier revision")
	}
	if _, err := e.Prune(ctx, "b", 0.5); !errors.Is(err, registry.ErrNotFound) {
		t.Error("pruned a set there is not:", err)
	}
	if _, err := e.AddExperts(ctx, "new", peft.AddOptions{Data: []string{tidal}, Experts: 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Prune(ctx, "new", 0.5); !errors.Is(err, peer.ErrNoHits) {
		t.Error("pruned a set that was never trained:", err)
	}
	o.OnlyNew, o.Prune = false, 0.5
	if r, err := e.Finetune(ctx, "new", o); err != nil || r.After.Target >= r.Before.Target {
		t.Errorf("trained and pruned: %+v, %v", r, err)
	}
	if half, err := e.Show("new"); err != nil || half.Experts > 10+len(half.Layers) {
		t.Errorf("%+v is left of 20 experts, %v", half, err)
	}
}

func placing(t *testing.T, e *peft.Engine) {
	for _, p := range []peft.Placing{{Occupancy: "ratio"}, {Occupancy: "count", Spread: 2}, {Occupancy: "full"}, {}} {
		name := "set-" + p.Occupancy
		if _, err := e.AddExperts(ctx, name, peft.AddOptions{Data: []string{tidal}, Placing: p}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := e.Show("set-full")
	if err != nil {
		t.Fatal(err)
	}
	o := short
	o.With, o.Alternate = []string{"a"}, true
	if _, err := e.Finetune(ctx, "set-with", o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"set-": all.Experts, "set-ratio": all.Experts / 2, "set-count": all.Experts / 2, "set-with": all.Experts / 2} {
		if s, err := e.Show(name); err != nil || s.Experts != want {
			t.Errorf("%s: %d experts, want %d, %v", name, s.Experts, want, err)
		}
	}
	for _, o := range []peft.AddOptions{
		{Placing: peft.Placing{Occupancy: "most"}}, {Placing: peft.Placing{Spread: -1}}, {Placing: peft.Placing{Occupancy: "full"}, Experts: 5},
	} {
		o.Data = []string{tidal}
		_, err := e.AddExperts(ctx, "bad", o)
		if unknown := o.Occupancy == "most"; err == nil || errors.Is(err, retrieval.ErrOrdering) != unknown {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// scale: a request's strength is recorded nowhere, 1 is no strength, and 0 is off, to the bit.
func scale(t *testing.T, e *peft.Engine) {
	off, on, half := eval(t, e), eval(t, e, "a"), eval(t, e, "a*0.5")
	if eval(t, e, "a*1").LogitsSHA256 != on.LogitsSHA256 || eval(t, e, "a*2*0.5").LogitsSHA256 != on.LogitsSHA256 || eval(t, e, "a*0").LogitsSHA256 != off.LogitsSHA256 {
		t.Error("strength 1 is not the set as it is, or strength 0 not off")
	}
	if half.Perplexity <= on.Perplexity || half.Perplexity >= off.Perplexity {
		t.Errorf("perplexity %v at half strength, %v on, %v off", half.Perplexity, on.Perplexity, off.Perplexity)
	}
	if eval(t, e, "a").LogitsSHA256 != on.LogitsSHA256 {
		t.Error("a request's strength stayed")
	}
	for _, bad := range []string{"a*", "a*x", "a*NaN", "a*1e39", "a*1e30*1e30"} {
		if _, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{tidal}, Sets: []string{bad}}); !errors.Is(err, peft.ErrScale) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
