package peer

import (
	"fmt"
	"sync"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// pass is a stack in one forward pass: its operands and memory, with its parts bound once so that a call allocates
// nothing.
type pass struct {
	stack   *Stack
	routing *retrieval.Routing // own, or view
	own     retrieval.Routing
	view    retrieval.Routing // rows of what a Mix selected for several
	routed  int               // the block whose selection is in routing; -1 for none
	watch   *Provenance       // nil when nobody asks

	// What is worked on: tables in cells that read x and add to y.
	layer  *stackLayer
	tables []active
	y, x   kernels.Matrix
	norms  []float32 // [tokens] of the stream before any set is added, when the layer is capped

	table *active   // where the threads share a token's heads
	sums  []float32 // [tokens, heads, Out]
	hits  []bool

	always  always
	acc     []float32 // [tokens, hidden] of one capped table that is always on
	changed []float32 // a linear layer's changed input
	kept    ownOutput
	linear  linear

	sumTokens, headSums func(lo, hi int)
}

// tileStates keeps memory between tiles, for all stacks and trainings together: of each its own, it would take long until
// every processor had met one of every kind.
var tileStates = sync.Pool{New: func() any { return new(tileState) }}

// tileState is one goroutine's memory.
type tileState struct {
	pairs pairs
	gathered
	acc    []float32 // [tile, Out]
	row    []float32
	dGates []float32
	memory adapters.Memory
}

func (s *Stack) begin() *pass {
	f := s.spare.Get().(*pass)
	f.routing, f.routed = &f.own, -1
	return f
}

// End gives the pass's memory back.
func (f *pass) End() {
	f.layer, f.tables, f.table, f.y, f.x, f.linear = nil, nil, nil, kernels.Matrix{}, kernels.Matrix{}, linear{}
	f.view, f.watch = retrieval.Routing{}, nil
	f.stack.spare.Put(f)
}

// route selects cells by a layer for x: [tokens, hidden], unless that was done.
func (f *pass) route(l *retrieval.Layer, x []float32, tokens int) error {
	if len(x) < tokens*l.Hidden {
		return fmt.Errorf("peer: block %d: %d values for %d tokens of width %d", l.Block, len(x), tokens, l.Hidden)
	}
	if f.routed != l.Block || f.routing.Tokens != tokens {
		f.routing, f.routed = &f.own, l.Block
		l.Route(f.stack.pool, f.routing, x, tokens)
	}
	return nil
}

// share takes from r, what a block's router selected for more rows, the rows [lo, hi).
func (f *pass) share(block int, r *retrieval.Routing, lo, hi int) {
	r.Slice(&f.view, lo, hi)
	f.routing, f.routed = &f.view, block
}

// Forward implements llama.Seam.
func (f *pass) Forward(block int, y, x []float32, tokens int) error {
	f.watch.block(y, tokens)
	l := f.stack.layers[place{block, llama.Beside}]
	if l == nil || tokens == 0 {
		return nil
	}
	hid := l.router.Hidden
	if len(y) < tokens*hid {
		return fmt.Errorf("peer: block %d: %d and %d values for %d tokens of width %d", block, len(x), len(y), tokens, hid)
	}
	if err := f.route(l.router, x, tokens); err != nil {
		return err
	}
	if f.norms = f.norms[:0]; l.capped {
		f.norms = norms(f.norms, y, tokens, hid)
	}
	f.sum(l, &l.ports[0], kernels.Dense(y, tokens, hid), kernels.Dense(f.routing.XHat, tokens, hid))
	return nil
}

// sum adds what the tables of a bench make of x: [tokens, In] to y: [tokens, Out].
func (f *pass) sum(l *stackLayer, b *bench, y, x kernels.Matrix) {
	if f.watch == nil {
		f.add(l, b, y, x)
		return
	}
	for i := range b.always {
		f.watched(l, &bench{always: b.always[i : i+1]}, b.always[i].set, y, x)
	}
	for i := range b.routed {
		f.watched(l, &bench{routed: b.routed[i : i+1]}, b.routed[i].set, y, x)
	}
}

// watched is add for one table, of which the set is told what it added.
func (f *pass) watched(l *stackLayer, one *bench, set *Set, y, x kernels.Matrix) {
	f.watch.before(y)
	f.add(l, one, y, x)
	f.watch.after(set, y)
}

func (f *pass) add(l *stackLayer, b *bench, y, x kernels.Matrix) {
	p := f.stack.pool
	for i := range b.always {
		a := &b.always[i]
		if a.Cap == 0 {
			f.always.forward(p, a, y, x)
			continue
		}
		f.acc = resize(f.acc, y.Rows*y.Cols)
		clear(f.acc)
		f.always.forward(p, a, kernels.Dense(f.acc, y.Rows, y.Cols), x)
		a.limitAll(f.acc, f.norms, nil)
		for t := range y.Rows {
			kernels.Add(y.Row(t), y.Row(t), f.acc[t*y.Cols:(t+1)*y.Cols])
		}
	}
	if len(b.routed) == 0 {
		return
	}
	f.layer, f.tables, f.y, f.x = l, b.routed, y, x
	if tokens := y.Rows; tokens < p.Threads() {
		for i := range b.routed {
			if a := &b.routed[i]; a.gather != nil {
				f.byHeads(a)
			} else {
				f.tables = b.routed[i : i+1]
				f.byTokens(0, tokens)
			}
		}
	} else {
		grain := min(tile, max(8, (tokens+p.Threads()-1)/p.Threads()))
		p.Run(tokens, grain, f.sumTokens)
	}
}

// byTokens adds the tables' contributions to the tokens [lo, hi).
func (f *pass) byTokens(lo, hi int) {
	t, l, r := tileStates.Get().(*tileState), f.layer.router, f.routing
	defer tileStates.Put(t)
	for i := range f.tables {
		a := &f.tables[i]
		switch {
		case a.gather != nil:
			t.tokens(a, r, lo, hi, f.y, f.x, f.norms, l.Heads, l.TopK)
		case t.pairs.find(a.Occupancy, r, lo, hi, l.Heads*l.TopK, a.scale):
			if _, cheap := a.Kind.(adapters.Gatherer); !cheap {
				t.pairs.combine()
			}
			acc := t.sum(a, &t.pairs, f.x.Slice(lo, hi), f.y.Cols)
			if a.Cap > 0 {
				a.limitAll(t.acc, f.norms[lo:hi], nil)
			}
			addHit(f.y.Slice(lo, hi), acc, t.pairs.hit)
		}
	}
}

// sum returns one table's contribution, [tokens, out], for the pairs found. It is in t.acc.
func (t *tileState) sum(a *active, p *pairs, x kernels.Matrix, out int) kernels.Matrix {
	t.acc = resize(t.acc, x.Rows*out)
	clear(t.acc)
	t.row = resize(t.row, a.Rows.Width)
	y, state := kernels.Dense(t.acc, x.Rows, out), a.Kind.State(a.Dims)
	p.state = resize(p.state, len(p.tokens)*state)
	for _, g := range p.groups {
		a.Kind.Forward(p.work(g, state, &t.memory), a.Rows.Row(int(g.expert), t.row), y, x)
	}
	return y
}

// addHit adds the rows of acc that were hit to y.
func addHit(y, acc kernels.Matrix, hit []bool) {
	for i, on := range hit {
		if on {
			kernels.Add(y.Row(i), y.Row(i), acc.Row(i))
		}
	}
}
