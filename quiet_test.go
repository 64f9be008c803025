package peft_test

import (
	"math"
	"testing"

	"github.com/gopeft/peft"
)

// TestQuietPassages: a set that is to leave the passages alone changes them less, those that it has not seen among them, and
// learns all the same.
func TestQuietPassages(t *testing.T) {
	e := open(t)
	changed := map[string]float64{}
	for name, passages := range map[string]bool{"loud": false, "still": true} {
		o := short
		o.QuietPassages = passages
		r, err := e.Finetune(ctx, name, o)
		if err != nil {
			t.Fatal(err)
		}
		if r.After.Target >= r.Before.Target {
			t.Errorf("%s learned nothing: perplexity %v, before %v", name, r.After.Target, r.Before.Target)
		}
		for _, sets := range [][]string{nil, {name}} {
			p, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{"foreign/passages.txt"}, Sets: sets})
			if err != nil {
				t.Fatal(err)
			}
			changed[name] = p.NLL - changed[name]
		}
	}
	if loud, still := math.Abs(changed["loud"]), math.Abs(changed["still"]); still > 0.8*loud {
		t.Errorf("the NLL of the passages changes by %.3f nats, and by %.3f of a set that is to leave them alone", loud, still)
	}
}
