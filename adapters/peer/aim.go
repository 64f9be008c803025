package peer

import (
	"fmt"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Aimer stands in a base's seam while it reads what a set is to learn, adds nothing, and keeps what the set's untrained
// experts beside the feed-forward layers will see there. One goroutine at a time may use it.
type Aimer struct {
	pool    *kernels.Pool
	tables  []*aimed
	routing retrieval.Routing
}

// aimed is what the fresh experts of one table saw.
type aimed struct {
	*Table
	kind    adapters.Aiming
	layer   *retrieval.Layer
	first   int         // expert that is fresh
	sums    [][]float32 // [fresh][In] of inputs, each times its gate; nil of experts that saw none
	weights []float32   // [fresh] sums of gates
}

// NewAimer returns an Aimer for the set's experts that were never trained, stand in cells and are of kinds that can be aimed; nil
// if there are none.
func NewAimer(r *retrieval.Router, p *kernels.Pool, set *Set) *Aimer {
	a := &Aimer{pool: p}
	for _, t := range set.Tables {
		kind, ok := t.Kind.(adapters.Aiming)
		l := r.Layer(t.Block)
		if !ok || t.AlwaysOn() || t.Site != llama.Beside || t.Fresh == 0 || l == nil {
			continue
		}
		a.tables = append(a.tables, &aimed{
			Table: t, kind: kind, layer: l, first: t.Experts() - t.Fresh,
			sums: make([][]float32, t.Fresh), weights: make([]float32, t.Fresh),
		})
	}
	if len(a.tables) == 0 {
		return nil
	}
	return a
}

// Forward adds x: [tokens, hidden], standardised, to what the experts saw that it selects.
func (a *Aimer) Forward(block int, _, x []float32, tokens int) error {
	for _, t := range a.tables {
		if t.Block != block {
			continue
		}
		l := t.layer
		if len(x) < tokens*l.Hidden {
			return fmt.Errorf("peer: aim block %d: %d values for %d tokens of width %d", block, len(x), tokens, l.Hidden)
		}
		l.Route(a.pool, &a.routing, x, tokens)
		t.see(&a.routing, l.Heads*l.TopK)
	}
	return nil
}

// see adds a routing of that many cells a token.
func (t *aimed) see(r *retrieval.Routing, cells int) {
	in := t.Dims.In
	for i, c := range r.Cells {
		for _, e := range t.Occupancy.Lookup(c) {
			f := int(e) - t.first
			if f < 0 {
				continue
			}
			if t.sums[f] == nil {
				t.sums[f] = make([]float32, in)
			}
			tok := i / cells
			kernels.Axpy(r.Gates[i], r.XHat[tok*in:(tok+1)*in], t.sums[f])
			t.weights[f] += r.Gates[i]
		}
	}
}

// leastSeen is the sum of gates below which an expert saw nothing: dividing by less could leave the numbers there are.
const leastSeen = 1e-6

// Aim turns the experts towards the mean of what they saw, and leaves those that saw nothing as they are.
func (a *Aimer) Aim() {
	for _, t := range a.tables {
		a.pool.Run(t.Fresh, 64, func(lo, hi int) {
			buf := make([]float32, t.Rows.Width)
			for f := lo; f < hi; f++ {
				if t.weights[f] < leastSeen {
					continue
				}
				mean := t.sums[f]
				kernels.Scale(1/t.weights[f], mean)
				row := t.Rows.Row(t.first+f, buf)
				t.kind.Aim(row, mean, t.Dims)
				t.Rows.Set(t.first+f, row)
			}
		})
	}
}
