package peer

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/retrieval"
)

func TestRecorderCalibrates(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	rec := NewRecorder([]int{1, 4}, testHidden, 250)
	for range 3 {
		for block := range 6 {
			x := randn(rnd, 100*testHidden)
			if err := rec.Forward(block, nil, x, 100); err != nil {
				t.Fatal(err)
			}
			for i := range x {
				x[i] = 3
			}
			rec.ObserveFFN(block, x, 100)
		}
		if full := rec.Full(); full != (rec.blocks[1].tokens == 250) {
			t.Error("full:", full)
		}
	}
	r, rep, err := retrieval.Calibrate(context.Background(), nil, retrieval.Options{
		Hidden: testHidden, Blocks: []int{1, 4}, Config: retrieval.Config{Heads: 2, TopK: 4, SubKeys: 4, HalfDim: 6},
	}, rec)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Tokens != 200 || rep.HeldOut != 50 || r.Layers[0].OutScale != 3 || r.Layers[1].OutScale != 3 {
		t.Errorf("%+v, output scale %g", rep, r.Layers[0].OutScale)
	}
	if _, err := rec.Sample(2); err == nil {
		t.Error("a block that was not recorded has a sample")
	}
	if err := rec.Forward(1, nil, nil, 3); err == nil {
		t.Error("short rows pass")
	}
}

func TestCounterAndPlace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := testRouter(6)
	first := testSet(t, r, "first", 1, F32)
	stack, err := NewStack(r, nil, first)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCounter(r, nil)
	const tokens = 64
	x := randn(rnd, tokens*testHidden)
	y := make([]float32, len(x))
	if err := c.Forward(1, y, x, tokens); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) {
		t.Error("a counter changes y")
	}
	c.With = stack
	if err := c.Forward(4, y, x, tokens); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) {
		t.Error("the sets that are on add nothing")
	}
	counts := c.Counts()
	for i := range counts {
		var sum uint32
		for _, n := range counts[i] {
			sum += n
		}
		if sum != tokens*2*4 || c.Usage()[i].Tokens != tokens {
			t.Errorf("layer %d: %d selections of %d tokens", i, sum, c.Usage()[i].Tokens)
		}
	}
	first.Tables[0].Counts = counts[0]
	r2 := testRouter(6)
	places, err := Place(r2, counts, []*Set{first}, Placing{Experts: 9})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range places {
		if p.Occupancy.Experts() != 9 || p.Occupancy.Occupied() != 9 || p.Counts == nil {
			t.Error(p.Occupancy.Experts(), p.Occupancy.Occupied())
		}
	}
	if _, err := Place(r2, counts, nil, Placing{Experts: 36*retrieval.MaxPerCell + 1}); err == nil {
		t.Error("too many experts pass")
	}
	if _, err := Place(r2, counts[:1], nil, Placing{Experts: 9}); err == nil {
		t.Error("counts of one layer pass for two")
	}
}
