package peer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// TestAimer: experts that were never trained and see something are turned so that they answer the mean of it with 1, up to
// what is left of their first values; all others keep their bits; and neither threads nor how the text is cut matter.
func TestAimer(t *testing.T) {
	r := testRouter(6)
	const tokens, trained = 40, 3
	x := randn(rand.New(rand.NewPCG(4, 4)), tokens*testHidden)
	for i := range x {
		x[i] += 2 // what the text has of its own
	}
	aimed := func(p *kernels.Pool, cut int) *Set {
		s := testSet(t, r, "s", 1, F32)
		for _, table := range s.Tables {
			table.Fresh = table.Experts() - trained
		}
		a := NewAimer(r, p, s)
		for _, table := range s.Tables {
			for at := 0; at < tokens; at += cut {
				n := min(cut, tokens-at)
				if err := a.Forward(table.Block, nil, x[at*testHidden:(at+n)*testHidden], n); err != nil {
					t.Fatal(err)
				}
			}
		}
		a.Aim()
		return s
	}
	p := kernels.NewPool(3)
	defer p.Close()
	was, got, same := testSet(t, r, "s", 1, F32), aimed(nil, tokens), aimed(p, 7)
	turned := 0
	for i, table := range got.Tables {
		if !slices.Equal(table.Rows.F32, same.Tables[i].Rows.F32) {
			t.Errorf("table %d depends on threads or on how the text is cut", i)
		}
		l := r.Layer(table.Block)
		seen := make([][]float64, table.Experts()) // Σ gate·x̂ and, behind it, Σ gate
		var routing retrieval.Routing
		l.Route(nil, &routing, x, tokens)
		for j, c := range routing.Cells {
			for _, e := range table.Occupancy.Lookup(c) {
				if seen[e] == nil {
					seen[e] = make([]float64, testHidden+1)
				}
				g := float64(routing.Gates[j])
				for k, v := range routing.XHat[j/(l.Heads*l.TopK)*testHidden:][:testHidden] {
					seen[e][k] += g * float64(v)
				}
				seen[e][testHidden] += g
			}
		}
		for e, s := range seen {
			before, now := was.Tables[i].Rows.Row(e, nil), table.Rows.Row(e, nil)
			if e < trained || s == nil {
				if !slices.Equal(before, now) {
					t.Errorf("table %d: expert %d changed", i, e)
				}
				continue
			}
			turned++
			var dot float64
			for k := range testHidden {
				dot += (float64(now[k]) - 0.3*float64(before[k])) * s[k] / s[testHidden]
			}
			if math.Abs(dot-1) > 1e-3 {
				t.Errorf("table %d: expert %d answers its mean with %g", i, e, dot)
			}
			if !slices.Equal(before[testHidden:], now[testHidden:]) {
				t.Errorf("table %d: expert %d writes something else", i, e)
			}
		}
	}
	if turned == 0 {
		t.Error("no expert was turned")
	}
}

func TestAimerHasNothingToDo(t *testing.T) {
	r := testRouter(6)
	s := testSet(t, r, "s", 1, F32)
	for _, table := range s.Tables {
		table.Fresh = 0
	}
	if NewAimer(r, nil, s) != nil {
		t.Error("trained experts would be aimed")
	}
	low := siteSet(t, r, "low", 1, false, spot{block: 4, kind: testLoRA, routed: true})
	if NewAimer(r, nil, low) != nil {
		t.Error("LoRA would be aimed")
	}
	s.Tables[0].Fresh = 1
	if err := NewAimer(r, nil, s).Forward(s.Tables[0].Block, nil, make([]float32, 3), 1); err == nil {
		t.Error("short rows pass")
	}
}
