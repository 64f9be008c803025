package peer

import (
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Provenance is a stack on the rows of one sequence that keeps, for the last pass, how much each set and the base itself had
// in every row: norms, summed over the blocks. It changes no bits. One pass at a time may use it, as one part of a Mix or
// alone.
//
// A set's norm is that of what it added, beside feed-forward layers to the residual stream and at linear layers to their
// outputs; of kinds that scale a layer's input (ports InIn) it is that of the change in that input, and of those that scale
// its output (OutOut, BothOut) of the change in that output. The base's is that of what the stream gains in each block before
// the sets beside it are added: what sets changed inside the block counts there too.
type Provenance struct {
	stack *Stack
	rows  int
	base  []float64 // [rows]
	sets  []float64 // [rows, sets]
	start []float32 // [rows, hidden] the stream before the block; empty outside of a base's pass
	kept  []float32 // a table's output before it was added to
}

var _ llama.Passing = (*Provenance)(nil)

// Observed returns the stack with what keeps its sets' shares of one sequence.
func (s *Stack) Observed() *Provenance { return &Provenance{stack: s} }

// Sets returns the stack's sets, in the order of the shares.
func (p *Provenance) Sets() []*Set { return p.stack.sets }

// Rows returns how many rows the last pass had.
func (p *Provenance) Rows() int { return p.rows }

// Row writes each set's share of a row of the last pass to shares, [sets], which it returns with that length: its norm over
// that of all sets and the base; 0 when nothing added anything.
func (p *Provenance) Row(row int, shares []float64) []float64 {
	return p.of(shares, row, row+1)
}

// All is Row for the norms of all rows of the last pass together.
func (p *Provenance) All(shares []float64) []float64 { return p.of(shares, 0, p.rows) }

func (p *Provenance) of(shares []float64, lo, hi int) []float64 {
	n := len(p.stack.sets)
	shares = resize(shares, n)
	clear(shares)
	var sum float64
	for row := lo; row < hi; row++ {
		sum += p.base[row]
		for i, v := range p.sets[row*n : (row+1)*n] {
			shares[i] += v
			sum += v
		}
	}
	if sum > 0 {
		for i := range shares {
			shares[i] /= sum
		}
	}
	return shares
}

// Begin implements llama.Passing: it forgets the last pass.
func (p *Provenance) Begin() llama.Pass { return p.begin() }

func (p *Provenance) begin() *pass {
	f := p.stack.begin()
	f.watch, p.rows, p.start = p, 0, p.start[:0]
	return f
}

// Forward implements llama.Seam: a pass of one block, in which the base has no part.
func (p *Provenance) Forward(block int, y, x []float32, tokens int) error {
	f := p.begin()
	defer f.End()
	return f.Forward(block, y, x, tokens)
}

// Watch implements llama.Watcher.
func (f *pass) Watch(_ int, stream []float32, tokens int) {
	if p := f.watch; p != nil {
		p.start = append(p.start[:0], stream[:tokens*f.stack.router.Hidden]...)
	}
}

// room makes room for a pass's rows when they are first known.
func (p *Provenance) room(tokens int) {
	if p.rows == tokens {
		return
	}
	p.rows = tokens
	p.base, p.sets = resize(p.base, tokens), resize(p.sets, tokens*len(p.stack.sets))
	clear(p.base)
	clear(p.sets)
}

// block counts what a block has added to the stream y.
func (p *Provenance) block(y []float32, tokens int) {
	if p == nil {
		return
	}
	p.room(tokens)
	if hid := p.stack.router.Hidden; len(p.start) == tokens*hid && len(y) >= len(p.start) {
		for t := range tokens {
			p.base[t] += distance(y[t*hid:(t+1)*hid], p.start[t*hid:(t+1)*hid])
		}
	}
}

// before keeps y for after.
func (p *Provenance) before(y kernels.Matrix) {
	p.room(y.Rows)
	p.kept = resize(p.kept, y.Rows*y.Cols)
	for t := range y.Rows {
		copy(p.kept[t*y.Cols:], y.Row(t))
	}
}

// after counts what a set has added to y since.
func (p *Provenance) after(s *Set, y kernels.Matrix) {
	i, n := slices.Index(p.stack.sets, s), len(p.stack.sets)
	for t := range y.Rows {
		p.sets[t*n+i] += distance(y.Row(t), p.kept[t*y.Cols:(t+1)*y.Cols])
	}
}

// distance returns ‖a - b‖ and leaves a - b in b.
func distance(a, b []float32) float64 {
	for i, v := range a[:len(b)] {
		b[i] = v - b[i]
	}
	return float64(norm(b))
}
