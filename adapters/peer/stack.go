package peer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// tile is how many tokens share the reading of an expert's row.
const tile = 128

// Stack adds what sets of experts contribute beside each block of a base. It implements the base's Seam. Its methods may
// be called from several goroutines at once.
type Stack struct {
	router *retrieval.Router
	sets   []*Set
	pool   *kernels.Pool
	layers map[int]*stackLayer
	spare  sync.Pool // *forwardState
	tiles  sync.Pool // *tileState
}

type stackLayer struct {
	router *retrieval.Layer
	tables []active
	capped bool // whether one of the tables is
}

// active is one set's table as a layer uses it.
type active struct {
	*Table
	set    *Set
	gather adapters.Gatherer // the set's kind, when it can take the table's rows; otherwise nil
	scale  float32           // the set's times the layer's output scale
}

// forwardState is one Forward's operands and memory, with its parts bound once so that a call allocates nothing.
type forwardState struct {
	stack   *Stack
	layer   *stackLayer
	tables  []active
	y       []float32
	routing retrieval.Routing
	norms   []float32 // [tokens] of the stream before any set is added, when the layer is capped

	table *active   // where the threads share a token's heads
	sums  []float32 // [tokens, heads, hidden]
	hits  []bool

	sumTokens, headSums func(lo, hi int)
}

// tileState is one goroutine's memory.
type tileState struct {
	pairs pairs
	gathered
	acc    []float32 // [tile, hidden]
	row    []float32
	dGates []float32
}

// NewStack returns a stack of the given sets, none twice, in any order. Every set is checked against the router.
func NewStack(r *retrieval.Router, p *kernels.Pool, sets ...*Set) (*Stack, error) {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, byName)
	s := &Stack{router: r, sets: sets, pool: p, layers: map[int]*stackLayer{}}
	s.spare.New = func() any {
		f := &forwardState{stack: s}
		f.sumTokens, f.headSums = f.byTokens, f.sumHeads
		return f
	}
	s.tiles.New = func() any { return new(tileState) }
	for i, set := range sets {
		if i > 0 && sets[i-1].Name == set.Name {
			return nil, fmt.Errorf("peer: set %s is on twice", set.Name)
		}
		if err := set.Check(r); err != nil {
			return nil, err
		}
		for _, t := range set.Tables {
			l := s.layers[t.Block]
			if l == nil {
				l = &stackLayer{router: r.Layer(t.Block)}
				s.layers[t.Block] = l
			}
			a := active{Table: t, set: set, scale: set.Scale * l.router.OutScale}
			if k, ok := set.Kind.(adapters.Gatherer); ok && t.Rows.Format == BF16 {
				a.gather = k
			}
			l.tables = append(l.tables, a)
			l.capped = l.capped || t.Cap > 0
		}
	}
	return s, nil
}

// Sets returns the sets in the order in which they are added.
func (s *Stack) Sets() []*Set { return s.sets }

// Forward adds the sets' contributions beside a block to y. x and y: [tokens, hidden]; x is the input of the block's
// feed-forward layer. Neither may be changed by others meanwhile.
func (s *Stack) Forward(block int, y, x []float32, tokens int) error {
	l := s.layers[block]
	if l == nil || tokens == 0 {
		return nil
	}
	hid := l.router.Hidden
	if len(x) < tokens*hid || len(y) < tokens*hid {
		return fmt.Errorf("peer: block %d: %d and %d values for %d tokens of width %d", block, len(x), len(y), tokens, hid)
	}
	f := s.spare.Get().(*forwardState)
	f.layer, f.tables, f.y = l, l.tables, y
	l.router.Route(s.pool, &f.routing, x, tokens)
	if f.norms = f.norms[:0]; l.capped {
		f.norms = norms(f.norms, y, tokens, hid)
	}
	if tokens < s.pool.Threads() {
		for i := range l.tables {
			if a := &l.tables[i]; a.gather != nil {
				f.byHeads(a)
			} else {
				f.tables = l.tables[i : i+1]
				f.byTokens(0, tokens)
			}
		}
	} else {
		grain := min(tile, max(8, (tokens+s.pool.Threads()-1)/s.pool.Threads()))
		s.pool.Run(tokens, grain, f.sumTokens)
	}
	f.y, f.table = nil, nil
	s.spare.Put(f)
	return nil
}

// byTokens adds the tables' contributions to the tokens [lo, hi).
func (f *forwardState) byTokens(lo, hi int) {
	t, l, r := f.stack.tiles.Get().(*tileState), f.layer.router, &f.routing
	defer f.stack.tiles.Put(t)
	for i := range f.tables {
		a := &f.tables[i]
		switch {
		case a.gather != nil:
			t.tokens(a, r, lo, hi, f.y, f.norms, l.Heads, l.TopK, l.Hidden)
		case t.pairs.find(a.Occupancy, r, lo, hi, l.Heads*l.TopK, a.scale):
			t.sum(a, &t.pairs, r.XHat[lo*l.Hidden:hi*l.Hidden], l.Hidden)
			if a.Cap > 0 {
				a.limitAll(t.acc, f.norms[lo:hi], nil)
			}
			addHit(f.y[lo*l.Hidden:hi*l.Hidden], t.acc, t.pairs.hit, l.Hidden)
		}
	}
}

// sum leaves one table's contribution for the pairs found in t.acc, which gets the shape of x.
func (t *tileState) sum(a *active, p *pairs, x []float32, hid int) {
	kind := a.set.Kind
	t.acc = resize(t.acc, len(x))
	clear(t.acc)
	t.row = resize(t.row, a.Rows.Width)
	p.state = resize(p.state, len(p.tokens)*kind.State())
	for _, g := range p.groups {
		kind.Forward(p.work(g, kind.State()), a.Rows.Row(int(g.expert), t.row), t.acc, x, hid)
	}
}

// byName orders sets.
func byName(a, b *Set) int { return cmp.Compare(a.Name, b.Name) }

// addHit adds the rows of acc that were hit to y.
func addHit(y, acc []float32, hit []bool, hid int) {
	for i, on := range hit {
		if on {
			row := y[i*hid : (i+1)*hid]
			kernels.Add(row, row, acc[i*hid:(i+1)*hid])
		}
	}
}
