package peer

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/retrieval"
)

func counted(rnd *rand.Rand, r *retrieval.Router) [][]uint32 {
	counts := make([][]uint32, len(r.Layers))
	for i, l := range r.Layers {
		counts[i] = make([]uint32, l.Cells())
		for c := range counts[i] {
			counts[i][c] = uint32(rnd.IntN(20))
		}
	}
	return counts
}

// TestSetGrow: a set that grew computes the same bits until its new experts are trained, and keeps its rows for good.
func TestSetGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 1<<40).Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 4))
		r := testRouter(seed)
		const tokens = 50
		x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
		for _, f := range []Format{F32, BF16} {
			s := testSet(t, r, "a", seed, f)
			counts := counted(rnd, r)
			for i, table := range s.Tables {
				table.Counts, table.Fresh = counts[i], 0
			}
			before, rows := output(t, nil, r, y0, x, tokens, s), s.Tables[0].Rows
			experts := s.Experts()
			if err := s.Grow(nil, r, nil, Placing{}, 7, seed); err != nil {
				t.Fatal(err)
			}
			if s.Experts() != experts+7 || s.Tables[0].Fresh != 4 || s.Tables[1].Fresh != 3 {
				t.Fatalf("%d experts, %d and %d of them untrained", s.Experts(), s.Tables[0].Fresh, s.Tables[1].Fresh)
			}
			grown := s.Tables[0].Rows
			if !slices.Equal(grown.F32[:len(rows.F32)], rows.F32) || !slices.Equal(grown.BF16[:len(rows.BF16)], rows.BF16) {
				t.Fatal("growing changed rows that were there")
			}
			if !slices.Equal(before, output(t, nil, r, y0, x, tokens, s)) {
				t.Fatal("growing changed what the set adds")
			}
		}
	})
	r := testRouter(1)
	s := testSet(t, r, "a", 1, BF16)
	if s.Grow(nil, r, nil, Placing{}, 4, 1) == nil {
		t.Error("a set without counts grew")
	}
	counts := counted(rand.New(rand.NewPCG(1, 1)), r)
	for i := range s.Tables {
		s.Tables[i].Counts = counts[i]
	}
	if s.Grow(nil, r, nil, Placing{}, 1, 1) == nil || s.Grow(nil, r, nil, Placing{}, 1<<20, 1) == nil || s.Grow(nil, testRouter(2), nil, Placing{}, 4, 1) == nil {
		t.Error("grew by less than one a layer, by more than there is room for, or for another router")
	}
}

// TestOnlyNew: experts that were trained before get no gradient, the new ones the same as ever.
func TestOnlyNew(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	r := testRouter(3)
	const tokens = 150
	x, dy := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	s := testSet(t, r, "a", 3, F32)
	for i, table := range s.Tables {
		table.Counts, table.Fresh = counted(rnd, r)[i], 0
	}
	tr, err := NewTraining(r, nil, s)
	if err != nil {
		t.Fatal(err)
	}
	if tr.OnlyNew() == nil {
		t.Error("only new experts of a set without any")
	}
	old := s.Tables[0].Occupancy.Experts()
	if err := s.Grow(nil, r, nil, Placing{}, 20, 3); err != nil {
		t.Fatal(err)
	}
	grads := func(only bool) (*RowGrad, []float32) {
		tr, err := NewTraining(r, nil, s)
		if err != nil {
			t.Fatal(err)
		}
		if only {
			if err := tr.OnlyNew(); err != nil {
				t.Fatal(err)
			}
		}
		l, dx := tr.Layer(1), make([]float32, len(x))
		for range 2 { // a second pass in the memory of the first
			clear(dx)
			if err := l.Forward(make([]float32, len(x)), x, tokens); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Backward(dx, dy); err != nil {
				t.Fatal(err)
			}
		}
		clear(dx)
		g, err := l.Backward(dx, dy)
		if err != nil {
			t.Fatal(err)
		}
		return g, dx
	}
	all, dxAll := grads(false)
	some, dx := grads(true)
	if !slices.Equal(dx, dxAll) {
		t.Error("freezing experts changed the gradient of the input")
	}
	if len(some.Rows) == 0 || int(some.Rows[0]) < old || len(some.Rows) == len(all.Rows) {
		t.Fatalf("gradients of %v, the first %d experts are frozen", some.Rows, old)
	}
	at, _ := slices.BinarySearch(all.Rows, uint32(old))
	if !slices.Equal(some.Rows, all.Rows[at:]) || !slices.Equal(some.Values, all.Values[at*all.Width:]) {
		t.Error("new experts have other gradients beside frozen ones")
	}
}

func TestPrune(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 1<<40).Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 4))
		r := testRouter(seed)
		s := testSet(t, r, "a", seed, BF16)
		if err := s.Prune(0.5); !errors.Is(err, ErrNoHits) {
			t.Fatal("pruned without hits:", err)
		}
		if err := s.SetTrained(r, counted(rnd, r)); err != nil {
			t.Fatal(err)
		}
		keep := rapid.Float64Range(0.01, 1).Draw(t, "keep")
		before := make([]Table, len(s.Tables))
		for i, table := range s.Tables {
			before[i] = *table
		}
		if err := s.Prune(keep); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(r); err != nil {
			t.Fatal(err)
		}
		for i, table := range s.Tables {
			was := before[i]
			if n := int(math.Ceil(keep * float64(len(was.Hits)))); len(table.Hits) != n {
				t.Fatalf("kept %d of %d experts, want %d", len(table.Hits), len(was.Hits), n)
			}
			hits := slices.Sorted(slices.Values(was.Hits))
			if least := hits[len(hits)-len(table.Hits)]; slices.Min(table.Hits) != least {
				t.Fatalf("the coldest expert kept has %d hits, want %d", slices.Min(table.Hits), least)
			}
			// every expert kept has the row and the cells it had
			at := 0
			w := table.Rows.Width
			for e := range table.Hits {
				for !slices.Equal(was.Rows.BF16[at*w:(at+1)*w], table.Rows.BF16[e*w:(e+1)*w]) {
					at++
				}
				for c := range uint32(table.Occupancy.Cells()) {
					if slices.Contains(was.Occupancy.Lookup(c), uint32(at)) != slices.Contains(table.Occupancy.Lookup(c), uint32(e)) {
						t.Fatalf("expert %d, now %d, moved", at, e)
					}
				}
				at++
			}
		}
	})
	s := testSet(t, testRouter(1), "a", 1, BF16)
	if s.Prune(0) == nil || s.Prune(1.1) == nil || s.Prune(math.NaN()) == nil {
		t.Error("a share outside 0 to 1 passes")
	}
}
