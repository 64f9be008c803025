package peer

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Training runs the layers of one set forward and backward, and forward the layers of other sets that are on with it but
// stay as they are. It implements the base's Seam, for evaluation between steps. One goroutine at a time may use it.
type Training struct {
	Set    *Set
	With   []*Set // the others, in the order in which they were given
	Fresh  bool   // whether only experts that never were trained learn; see OnlyNew
	layers map[int]*TrainLayer
}

// NewTraining prepares to train set, whose rows it converts to F32 and whose caps it takes off, with the others on beside
// it.
func NewTraining(r *retrieval.Router, p *kernels.Pool, set *Set, with ...*Set) (*Training, error) {
	stack, err := NewStack(r, p, append([]*Set{set}, with...)...)
	if err != nil {
		return nil, err
	}
	set.Convert(p, F32)
	set.Uncap()
	t := &Training{Set: set, With: with, layers: map[int]*TrainLayer{}}
	for block, l := range stack.layers {
		tl := &TrainLayer{Router: l.router, pool: p, tables: l.tables, trained: -1}
		for i := range l.tables {
			if l.tables[i].set == set {
				tl.trained = i
			}
		}
		t.layers[block] = tl
	}
	return t, nil
}

// Alone returns a training of the same rows of the same set that has nothing beside it and keeps its own routing.
func (t *Training) Alone() *Training {
	a := &Training{Set: t.Set, layers: map[int]*TrainLayer{}}
	for _, b := range t.Blocks() {
		l := t.layers[b]
		a.layers[b] = &TrainLayer{Router: l.Router, pool: l.pool, tables: l.tables[l.trained : l.trained+1], frozen: l.frozen}
	}
	return a
}

// Beside switches the sets beside the trained one on, as they are at first, or off.
func (t *Training) Beside(on bool) {
	for _, l := range t.layers {
		l.alone = !on
	}
}

// Layer returns the layer beside that block, or nil when no set has experts there.
func (t *Training) Layer(block int) *TrainLayer { return t.layers[block] }

// Blocks returns the blocks where the trained set has experts, ascending.
func (t *Training) Blocks() []int {
	var b []int
	for _, table := range t.Set.Tables {
		b = append(b, table.Block)
	}
	return b
}

// Forward adds the layer's contribution beside a block to y. x and y: [tokens, hidden].
func (t *Training) Forward(block int, y, x []float32, tokens int) error {
	if l := t.layers[block]; l != nil {
		return l.Forward(y, x, tokens)
	}
	return nil
}

// TrainLayer is one layer of a Training. Forward keeps what Backward needs until the next Forward.
type TrainLayer struct {
	Router *retrieval.Layer
	// RouterGrad, when not nil, makes Backward add the router's gradient to it, as in the paper, where the router is
	// trained with the experts. Normally it is nil and routing is constant. Set it before Forward.
	RouterGrad *retrieval.Grad
	// QueryNorm, when not nil, normalises the queries over each batch while RouterGrad is set.
	QueryNorm *retrieval.BatchNorm
	// Sigmoid makes each gate the sigmoid of its own score, for models that are trained from scratch.
	Sigmoid bool

	pool    *kernels.Pool
	tables  []active
	trained int  // index of the trained set's table; -1 when it has none here
	alone   bool // whether the sets beside the trained one are off
	frozen  int  // experts of it, from the first, that get no gradient

	routing  retrieval.Routing
	tokens   int
	tiles    []trainTile
	scratch  sync.Pool // *tileState
	dxh      []float32 // [tokens, hidden]
	dGates   []float32 // [tokens, heads, k]
	noDx     []float32 // [tokens, hidden]
	grad     RowGrad
	learning RowGrad  // the part of grad that is of experts which are not frozen
	segments []uint64 // expert, tile, group of the trained table
	first    []int    // where each touched expert's segments begin

	// What the current call works on, and its functions bound once, so that a call allocates nothing.
	y, dx, dy                           []float32
	forwardPart, inputPart, rowGradPart func(lo, hi int)
}

// trainTile is what one tile of tokens keeps: its pairs with each table.
type trainTile struct {
	lo, hi int
	pairs  []pairs
	on     []bool
	dGates []float32   // of the trained table's pairs
	norms  []float32   // [tokens] of the stream, when a table has a cap
	shares [][]float32 // of each table that has a cap, [tokens] what it left of the table's contribution
}

// Bits of a segment: an expert's number takes the 28 above, a tile's the next, and a group's the lowest.
const tileBits, groupBits = 12, 22

// RowGrad is the gradient of a table's rows that were touched; all other rows' is zero.
type RowGrad struct {
	Width  int
	Rows   []uint32  // ascending
	Values []float32 // [len(Rows), Width]
}

// Row returns the gradient of row Rows[i].
func (g *RowGrad) Row(i int) []float32 { return g.Values[i*g.Width : (i+1)*g.Width] }

// SquaredNorm returns the sum of the squares of all values, always summed in the same order.
func (g *RowGrad) SquaredNorm() float64 {
	var sum float64
	for i := range g.Rows {
		sum += float64(kernels.Dot(g.Row(i), g.Row(i)))
	}
	return sum
}

// Set makes g a copy of o.
func (g *RowGrad) Set(o *RowGrad) {
	g.Width, g.Rows, g.Values = o.Width, append(g.Rows[:0], o.Rows...), append(g.Values[:0], o.Values...)
}

// Add adds the gradient of the same table's rows from other tokens.
func (g *RowGrad) Add(o *RowGrad) {
	if slices.Equal(g.Rows, o.Rows) {
		kernels.Add(g.Values, g.Values, o.Values)
		return
	}
	// From the back, because there is room behind: each of g's rows moves up by as many as o has below it alone.
	both := 0
	for i, j := 0, 0; i < len(g.Rows) && j < len(o.Rows); {
		switch a, b := g.Rows[i], o.Rows[j]; {
		case a < b:
			i++
		case b < a:
			j++
		default:
			both, i, j = both+1, i+1, j+1
		}
	}
	i, j, n, w := len(g.Rows)-1, len(o.Rows)-1, len(g.Rows)+len(o.Rows)-both, o.Width
	g.Width, g.Rows, g.Values = w, slices.Grow(g.Rows, n-len(g.Rows))[:n], slices.Grow(g.Values, n*w-len(g.Values))[:n*w]
	for n--; j >= 0; n-- {
		switch {
		case i < 0 || g.Rows[i] < o.Rows[j]:
			g.Rows[n] = o.Rows[j]
			copy(g.Row(n), o.Row(j))
			j--
		case o.Rows[j] < g.Rows[i]:
			g.Rows[n] = g.Rows[i]
			copy(g.Row(n), g.Row(i))
			i--
		default:
			g.Rows[n] = g.Rows[i]
			kernels.Add(g.Row(n), g.Row(i), o.Row(j))
			i, j = i-1, j-1
		}
	}
}

// Trained reports whether the trained set has experts in this layer.
func (l *TrainLayer) Trained() bool { return l.trained >= 0 }

// Table returns the trained set's table, or nil.
func (l *TrainLayer) Table() *Table {
	if l.trained < 0 {
		return nil
	}
	return l.tables[l.trained].Table
}

// Routing returns what the last Forward selected, until the next.
func (l *TrainLayer) Routing() *retrieval.Routing { return &l.routing }

// Forward adds the layer's contribution to y. x and y: [tokens, hidden]; x must stay unchanged until Backward.
func (l *TrainLayer) Forward(y, x []float32, tokens int) error {
	hid := l.Router.Hidden
	if len(x) < tokens*hid || len(y) < tokens*hid {
		return fmt.Errorf("peer: block %d: %d and %d values for %d tokens of width %d", l.Router.Block, len(x), len(y), tokens, hid)
	}
	if most := tile << tileBits; tokens > most {
		return fmt.Errorf("peer: block %d: %d tokens at once, at most %d", l.Router.Block, tokens, most)
	}
	l.tokens = tokens
	r := &l.routing
	r.Train, r.Norm, r.Sigmoid = l.RouterGrad != nil, l.QueryNorm, l.Sigmoid
	l.Router.Route(l.pool, r, x, tokens)
	n := (tokens + tile - 1) / tile
	for len(l.tiles) < n {
		l.tiles = append(l.tiles, trainTile{pairs: make([]pairs, len(l.tables)), on: make([]bool, len(l.tables)), shares: make([][]float32, len(l.tables))})
	}
	if l.forwardPart == nil {
		l.forwardPart, l.inputPart, l.rowGradPart = l.forwardTiles, l.inputTiles, l.rowGrads
	}
	l.y = y
	l.pool.Run(n, 1, l.forwardPart)
	l.y = nil
	return nil
}

// forwardTiles adds the contribution to the tiles [first, last).
func (l *TrainLayer) forwardTiles(first, last int) {
	hid, r := l.Router.Hidden, &l.routing
	perToken := l.Router.Heads * l.Router.TopK
	s := l.spare()
	defer l.scratch.Put(s)
	for i := first; i < last; i++ {
		t := &l.tiles[i]
		t.lo, t.hi = i*tile, min((i+1)*tile, l.tokens)
		stream := l.y[t.lo*hid : t.hi*hid]
		t.norms = norms(t.norms, stream, t.hi-t.lo, hid)
		for j := range l.tables {
			a, p := &l.tables[j], &t.pairs[j]
			t.on[j] = (j == l.trained || !l.alone) && p.find(a.Occupancy, r, t.lo, t.hi, perToken, a.scale)
			if !t.on[j] {
				continue
			}
			s.sum(a, p, r.XHat[t.lo*hid:t.hi*hid], hid)
			if a.Cap > 0 {
				t.shares[j] = resize(t.shares[j], t.hi-t.lo)
				a.limitAll(s.acc, t.norms, t.shares[j])
			}
			addHit(stream, s.acc, p.hit, hid)
		}
	}
}

func (l *TrainLayer) spare() *tileState {
	if s, ok := l.scratch.Get().(*tileState); ok {
		return s
	}
	return new(tileState)
}

// Backward adds to dx: [tokens, hidden] the gradient with respect to the x of the last Forward, from dy, that with
// respect to its y, and returns the trained rows' gradient (nil when the set has none here). The result, to the bit, does
// not depend on the number of threads. It belongs to the layer and lasts until the next Backward. A nil dx is not computed.
func (l *TrainLayer) Backward(dx, dy []float32) (*RowGrad, error) {
	hid := l.Router.Hidden
	if (dx != nil && len(dx) < l.tokens*hid) || len(dy) < l.tokens*hid {
		return nil, fmt.Errorf("peer: block %d: gradients of %d and %d values for %d tokens of width %d", l.Router.Block, len(dx), len(dy), l.tokens, hid)
	}
	tiles := l.tiles[:(l.tokens+tile-1)/tile]
	var grad *RowGrad
	if l.trained >= 0 {
		grad = l.backwardRows(tiles, dy)
	}
	if dx == nil && l.RouterGrad == nil {
		return grad, nil
	}
	train := l.RouterGrad != nil
	if dx == nil { // the router's gradient needs a place for it all the same
		l.noDx = resize(l.noDx, l.tokens*hid)
		dx = l.noDx
	}
	if train {
		l.dGates = resize(l.dGates, len(l.routing.Gates))
		clear(l.dGates)
	}
	l.dxh = resize(l.dxh, l.tokens*hid)
	l.dx, l.dy = dx, dy
	l.pool.Run(len(tiles), 1, l.inputPart)
	l.dx, l.dy = nil, nil
	if train {
		l.Router.RouteBackward(l.pool, l.RouterGrad, dx, &l.routing, l.dGates)
	}
	return grad, nil
}

// inputTiles adds the gradient with respect to x of the tiles [first, last).
func (l *TrainLayer) inputTiles(first, last int) {
	hid := l.Router.Hidden
	s := l.spare()
	defer l.scratch.Put(s)
	for i := first; i < last; i++ {
		t := &l.tiles[i]
		l.backwardInput(s, t, l.dy)
		for row := t.lo; row < t.hi; row++ {
			d, dh := l.dx[row*hid:(row+1)*hid], l.dxh[row*hid:(row+1)*hid]
			if inv := l.Router.InvStd; inv != nil {
				retrieval.AddStandardised(d, dh, inv)
			} else {
				kernels.Add(d, d, dh)
			}
		}
	}
}

// backwardRows computes the gradients of the trained rows, one expert after the other over all tiles, and leaves in the
// pairs' state what backwardInput needs.
func (l *TrainLayer) backwardRows(tiles []trainTile, dy []float32) *RowGrad {
	a := &l.tables[l.trained]
	l.segments, l.first = l.segments[:0], l.first[:0]
	for i := range tiles {
		t := &tiles[i]
		if !t.on[l.trained] {
			continue
		}
		p := &t.pairs[l.trained]
		if l.RouterGrad != nil {
			t.dGates = resize(t.dGates, len(p.tokens))
		}
		for j, g := range p.groups {
			l.segments = append(l.segments, uint64(g.expert)<<(tileBits+groupBits)|uint64(i)<<groupBits|uint64(j))
		}
	}
	slices.Sort(l.segments)
	g := &l.grad
	g.Width, g.Rows = a.Rows.Width, g.Rows[:0]
	for i, s := range l.segments {
		e := uint32(s >> (tileBits + groupBits))
		if len(g.Rows) == 0 || g.Rows[len(g.Rows)-1] != e {
			g.Rows, l.first = append(g.Rows, e), append(l.first, i)
		}
	}
	l.first = append(l.first, len(l.segments))
	g.Values = resize(g.Values, len(g.Rows)*g.Width)
	l.dy = dy
	l.pool.Run(len(g.Rows), max(1, min(16, len(g.Rows)/(8*l.pool.Threads()))), l.rowGradPart)
	l.dy = nil
	return l.unfrozen()
}

// rowGrads computes the gradients of those rows of l.grad.
func (l *TrainLayer) rowGrads(lo, hi int) {
	a, hid, g := &l.tables[l.trained], l.Router.Hidden, &l.grad
	kind, xh := a.set.Kind, l.routing.XHat
	for i := lo; i < hi; i++ {
		d := g.Row(i)
		clear(d)
		row := a.Rows.Row(int(g.Rows[i]), nil)
		for _, s := range l.segments[l.first[i]:l.first[i+1]] {
			t := &l.tiles[s>>groupBits&(1<<tileBits-1)]
			p := &t.pairs[l.trained]
			gr := p.groups[s&(1<<groupBits-1)]
			var dg []float32
			if l.RouterGrad != nil {
				dg = t.dGates[gr.lo:gr.hi]
			}
			kind.Backward(p.work(gr, kind.State()), row, d, dg, l.dy[t.lo*hid:t.hi*hid], xh[t.lo*hid:t.hi*hid], hid)
		}
	}
}

// backwardInput computes the gradient with respect to x̂, and to the gates, of one tile.
func (l *TrainLayer) backwardInput(s *tileState, t *trainTile, dy []float32) {
	hid := l.Router.Hidden
	dxh, dy := l.dxh[t.lo*hid:t.hi*hid], dy[t.lo*hid:t.hi*hid]
	xh := l.routing.XHat[t.lo*hid : t.hi*hid]
	clear(dxh)
	for j := range l.tables {
		if !t.on[j] {
			continue
		}
		a, p := &l.tables[j], &t.pairs[j]
		kind, dGates := a.set.Kind, t.dGates
		s.row = resize(s.row, a.Rows.Width)
		dy := dy
		if a.Cap > 0 { // what the cap leaves of a contribution counts as constant
			s.acc = resize(s.acc, len(dy))
			for i, share := range t.shares[j] {
				row := s.acc[i*hid : (i+1)*hid]
				copy(row, dy[i*hid:(i+1)*hid])
				kernels.Scale(share, row)
			}
			dy = s.acc
		}
		if j != l.trained && l.RouterGrad != nil {
			s.dGates = resize(s.dGates, len(p.tokens))
			dGates = s.dGates
		}
		for _, g := range p.groups {
			row, w := a.Rows.Row(int(g.expert), s.row), p.work(g, kind.State())
			if j != l.trained {
				var dg []float32
				if l.RouterGrad != nil {
					dg = dGates[g.lo:g.hi]
				}
				kind.Backward(w, row, nil, dg, dy, xh, hid)
			}
			kind.BackwardInput(w, row, dxh, hid)
		}
		if l.RouterGrad != nil {
			for i, pick := range p.picks {
				l.dGates[pick] += a.scale * dGates[i]
			}
		}
	}
}

// RowNorm returns the Euclidean norm of the gradients of several layers together, summed in the order given.
func RowNorm(grads ...*RowGrad) float64 {
	var sum float64
	for _, g := range grads {
		if g != nil {
			sum += g.SquaredNorm()
		}
	}
	return math.Sqrt(sum)
}
