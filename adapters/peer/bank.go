package peer

import (
	"fmt"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// bank is the tables of a place that read the same matrix and add to the same matrix, with what their backward needs.
type bank struct {
	layer *TrainLayer
	bench
	learns int           // index in routed of the trained set's table; -1 when it has none there
	always []trainAlways // of bench.always

	tokens   int
	x        kernels.Matrix // what the last forward read
	capped   bool           // whether a table has a cap
	norms    []float32      // [tokens] of the stream then, before any set was added
	tiles    []trainTile
	grad     RowGrad
	learning RowGrad  // the part of grad that is of experts which are not frozen
	segments []uint64 // expert, tile, group of the trained table
	first    []int    // where each touched expert's segments begin

	// What the current call works on, and its functions bound once, so that a call allocates nothing.
	y, dx, dy                           kernels.Matrix
	forwardPart, inputPart, rowGradPart func(lo, hi int)
}

// trainTile is what one tile of tokens keeps: its pairs with each table.
type trainTile struct {
	lo, hi int
	pairs  []pairs
	on     []bool
	dGates []float32   // of the trained table's pairs
	shares [][]float32 // of each table that has a cap, [tokens] what it left of the table's contribution
}

// Bits of a segment: an expert's number takes the 28 above, a tile's the next, and a group's the lowest.
const tileBits, groupBits = 12, 22

func newBank(l *TrainLayer, tables *bench, set *Set) *bank {
	b := &bank{layer: l, bench: *tables, learns: -1}
	b.forwardPart, b.inputPart, b.rowGradPart = b.forwardTiles, b.inputTiles, b.rowGrads
	for i := range b.routed {
		if b.routed[i].set == set {
			b.learns = i
		}
		b.capped = b.capped || b.routed[i].Cap > 0
	}
	for i := range b.bench.always {
		a := &b.bench.always[i]
		b.capped = b.capped || a.Cap > 0
		b.always = append(b.always, trainAlways{active: a, learns: a.set == set})
	}
	return b
}

// trained returns the trained set's table, or nil.
func (b *bank) trained() *Table {
	if b.learns >= 0 {
		return b.routed[b.learns].Table
	}
	for i := range b.always {
		if b.always[i].learns {
			return b.always[i].Table
		}
	}
	return nil
}

// only returns the trained set's table by itself.
func (b *bank) only() bench {
	if b.learns >= 0 {
		return bench{routed: b.routed[b.learns : b.learns+1]}
	}
	for i := range b.always {
		if b.always[i].learns {
			return bench{always: b.bench.always[i : i+1]}
		}
	}
	return bench{}
}

// forward adds the tables' contributions to y: [tokens, Out]. x: [tokens, In] must stay until the backward.
func (b *bank) forward(y, x kernels.Matrix) error {
	l := b.layer
	if most := tile << tileBits; y.Rows > most {
		return fmt.Errorf("peer: block %d: %d tokens at once, at most %d", l.block, y.Rows, most)
	}
	b.tokens, b.x = y.Rows, x
	if b.capped {
		b.norms = norms(b.norms, y.Data, y.Rows, y.Cols)
	}
	if len(b.always) > 0 {
		b.forwardAlways(y)
	}
	if len(b.routed) == 0 {
		return nil
	}
	n := (b.tokens + tile - 1) / tile
	for len(b.tiles) < n {
		b.tiles = append(b.tiles, trainTile{pairs: make([]pairs, len(b.routed)), on: make([]bool, len(b.routed)), shares: make([][]float32, len(b.routed))})
	}
	b.y = y
	l.pool.Run(n, 1, b.forwardPart)
	b.y = kernels.Matrix{}
	return nil
}

// forwardTiles adds the contribution to the tiles [first, last).
func (b *bank) forwardTiles(first, last int) {
	l, r := b.layer, b.layer.Routing()
	perToken := l.Router.Heads * l.Router.TopK
	s := tileStates.Get().(*tileState)
	defer tileStates.Put(s)
	for i := first; i < last; i++ {
		t := &b.tiles[i]
		t.lo, t.hi = i*tile, min((i+1)*tile, b.tokens)
		y := b.y.Slice(t.lo, t.hi)
		for j := range b.routed {
			a, p := &b.routed[j], &t.pairs[j]
			t.on[j] = !slices.Contains(l.off, a.set) && p.find(a.Occupancy, r, t.lo, t.hi, perToken, a.scale)
			if !t.on[j] {
				continue
			}
			acc := s.sum(a, p, b.x.Slice(t.lo, t.hi), y.Cols)
			if a.Cap > 0 {
				t.shares[j] = resize(t.shares[j], t.hi-t.lo)
				a.limitAll(s.acc, b.norms[t.lo:t.hi], t.shares[j])
			}
			addHit(y, acc, p.hit)
		}
	}
}

// backward returns the trained rows' gradient, nil when the set has none here, and leaves what backwardInput needs.
func (b *bank) backward(dy kernels.Matrix) *RowGrad {
	grad := b.backwardAlways(dy)
	if b.learns >= 0 {
		grad = b.backwardRows(dy)
	}
	return grad
}

// backwardInput adds to dx: [tokens, In] the gradient with respect to x.
func (b *bank) backwardInput(dx, dy kernels.Matrix) {
	b.alwaysInput(dx, dy)
	if len(b.routed) == 0 {
		return
	}
	b.dx, b.dy = dx, dy
	b.layer.pool.Run((b.tokens+tile-1)/tile, 1, b.inputPart)
	b.dx, b.dy = kernels.Matrix{}, kernels.Matrix{}
}

// inputTiles computes the gradient with respect to x, and to the gates, of the tiles [first, last).
func (b *bank) inputTiles(first, last int) {
	s := tileStates.Get().(*tileState)
	defer tileStates.Put(s)
	for i := first; i < last; i++ {
		b.inputTile(s, &b.tiles[i])
	}
}

func (b *bank) inputTile(s *tileState, t *trainTile) {
	router := b.layer.RouterGrad != nil
	dx, tileDy, x := b.dx.Slice(t.lo, t.hi), b.dy.Slice(t.lo, t.hi), b.x.Slice(t.lo, t.hi)
	for j := range b.routed {
		if !t.on[j] {
			continue
		}
		a, p := &b.routed[j], &t.pairs[j]
		state, dGates := a.Kind.State(a.Dims), t.dGates
		s.row = resize(s.row, a.Rows.Width)
		dy := tileDy
		if a.Cap > 0 { // what the cap leaves of a contribution counts as constant
			s.acc = resize(s.acc, dy.Rows*dy.Cols)
			dy = shared(s.acc, tileDy, t.shares[j])
		}
		if j != b.learns && router {
			s.dGates = resize(s.dGates, len(p.tokens))
			dGates = s.dGates
		}
		for _, g := range p.groups {
			row, w := a.Rows.Row(int(g.expert), s.row), p.work(g, state, &s.memory)
			if j != b.learns {
				var dg []float32
				if router {
					dg = dGates[g.lo:g.hi]
				}
				a.Kind.Backward(w, row, nil, dg, dy, x)
			}
			a.Kind.BackwardInput(w, row, dx, dy)
		}
		if router {
			for i, pick := range p.picks {
				b.layer.dGates[pick] += a.scale * dGates[i]
			}
		}
	}
}

// shared returns, in the memory given, dy with each row times its share.
func shared(memory []float32, dy kernels.Matrix, shares []float32) kernels.Matrix {
	d := kernels.Dense(memory, dy.Rows, dy.Cols)
	for i, share := range shares {
		copy(d.Row(i), dy.Row(i))
		kernels.Scale(share, d.Row(i))
	}
	return d
}

// backwardRows computes the gradients of the trained rows in cells, one expert after the other over all tiles, and leaves
// in the pairs' state what inputTiles needs.
func (b *bank) backwardRows(dy kernels.Matrix) *RowGrad {
	a, l := &b.routed[b.learns], b.layer
	b.segments, b.first = b.segments[:0], b.first[:0]
	tiles := b.tiles[:(b.tokens+tile-1)/tile]
	for i := range tiles {
		t := &tiles[i]
		if !t.on[b.learns] {
			continue
		}
		p := &t.pairs[b.learns]
		if l.RouterGrad != nil {
			t.dGates = resize(t.dGates, len(p.tokens))
		}
		for j, g := range p.groups {
			b.segments = append(b.segments, uint64(g.expert)<<(tileBits+groupBits)|uint64(i)<<groupBits|uint64(j))
		}
	}
	slices.Sort(b.segments)
	g := &b.grad
	g.Width, g.Rows = a.Rows.Width, g.Rows[:0]
	for i, s := range b.segments {
		e := uint32(s >> (tileBits + groupBits))
		if len(g.Rows) == 0 || g.Rows[len(g.Rows)-1] != e {
			g.Rows, b.first = append(g.Rows, e), append(b.first, i)
		}
	}
	b.first = append(b.first, len(b.segments))
	g.Values = resize(g.Values, len(g.Rows)*g.Width)
	b.dy = dy
	l.pool.Run(len(g.Rows), max(1, min(16, len(g.Rows)/(8*l.pool.Threads()))), b.rowGradPart)
	b.dy = kernels.Matrix{}
	return b.unfrozen()
}

// rowGrads computes the gradients of those rows of b.grad.
func (b *bank) rowGrads(lo, hi int) {
	a, g := &b.routed[b.learns], &b.grad
	state, spare := a.Kind.State(a.Dims), tileStates.Get().(*tileState)
	defer tileStates.Put(spare)
	for i := lo; i < hi; i++ {
		d := g.Row(i)
		clear(d)
		row := a.Rows.Row(int(g.Rows[i]), nil)
		for _, s := range b.segments[b.first[i]:b.first[i+1]] {
			t := &b.tiles[s>>groupBits&(1<<tileBits-1)]
			p := &t.pairs[b.learns]
			gr := p.groups[s&(1<<groupBits-1)]
			var dg []float32
			if b.layer.RouterGrad != nil {
				dg = t.dGates[gr.lo:gr.hi]
			}
			a.Kind.Backward(p.work(gr, state, &spare.memory), row, d, dg, b.dy.Slice(t.lo, t.hi), b.x.Slice(t.lo, t.hi))
		}
	}
}
