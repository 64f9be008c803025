// Package lora is low-rank adaptation (LoRA, arXiv 2106.09685, section 4.1), f(x) = s·B·A·x, with the scales alpha/r and
// alpha/√r (rank-stabilised, arXiv 2312.03732), and DoRA (arXiv 2402.09353), which learns the rows' norms besides.
package lora

import (
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Kind is LoRA of one rank and scale. A row is A: [rank, In], then Bᵀ: [rank, Out].
type Kind struct {
	Rank       int
	Alpha      float64
	Stabilised bool // the scale is alpha/√rank
}

var _ adapters.Writing = Kind{}

// Scale returns s.
func (k Kind) Scale() float32 {
	if k.Stabilised {
		return float32(k.Alpha / math.Sqrt(float64(k.Rank)))
	}
	return float32(k.Alpha / float64(k.Rank))
}

// Name implements adapters.Kind.
func (k Kind) Name() string { return "lora" + k.options() }

// Port implements adapters.Kind.
func (k Kind) Port() adapters.Port { return adapters.InOut }

// Width implements adapters.Kind: A and B.
func (k Kind) Width(d adapters.Dims) int { return k.Rank * (d.In + d.Out) }

// Writes implements adapters.Writing: B.
func (k Kind) Writes(d adapters.Dims) (lo, hi int) { return k.Rank * d.In, k.Rank * (d.In + d.Out) }

// State implements adapters.Kind: A·x, and gate·s·A·x, which becomes the gradient of A·x.
func (k Kind) State(adapters.Dims) int { return 2 * k.Rank }

// Init implements adapters.Kind: A uniform between ±1/√In, as Hugging Face has it (Kaiming with a = √5), and B = 0.
func (k Kind) Init(row []float32, d adapters.Dims, rnd *rand.Rand) {
	bound := 1 / math.Sqrt(float64(d.In))
	a, b := k.split(row, d.In, d.Out)
	for i := range a.Data {
		a.Data[i] = float32((2*rnd.Float64() - 1) * bound)
	}
	clear(b.Data)
}

// split returns A: [rank, in] and Bᵀ: [rank, out].
func (k Kind) split(row []float32, in, out int) (a, b kernels.Matrix) {
	n := k.Rank * in
	return kernels.Dense(row[:n], k.Rank, in), kernels.Dense(row[n:n+k.Rank*out], k.Rank, out)
}

// state returns A·x and what stands beside it.
func (k Kind) state(g adapters.Group) (h, w kernels.Matrix) {
	n := g.Len()
	size := n * k.Rank
	return kernels.Dense(g.State[:size], n, k.Rank), kernels.Dense(g.State[size:2*size], n, k.Rank)
}

// Forward implements adapters.Kind.
func (k Kind) Forward(g adapters.Group, row []float32, y, x kernels.Matrix) {
	a, b := k.split(row, x.Cols, y.Cols)
	h, w := k.state(g)
	kernels.MulNT(g.Pool, h, g.Rows(0, x), a, false)
	copy(w.Data, h.Data)
	g.Weigh(w, k.Scale())
	g.AddProduct(0, y, w, b, nil)
}

// Backward implements adapters.Kind.
func (k Kind) Backward(g adapters.Group, row, grad, dGates []float32, dy, x kernels.Matrix) {
	_, b := k.split(row, x.Cols, dy.Cols)
	h, w := k.state(g)
	dyRows := g.Rows(0, dy)
	if grad != nil {
		_, db := k.split(grad, x.Cols, dy.Cols)
		kernels.MulTN(g.Pool, db, w, dyRows, true)
	}
	kernels.MulNT(g.Pool, w, dyRows, b, false)
	for i := range dGates {
		dGates[i] = k.Scale() * kernels.Dot(w.Row(i), h.Row(i))
	}
	g.Weigh(w, k.Scale())
	if grad != nil {
		da, _ := k.split(grad, x.Cols, dy.Cols)
		kernels.MulTN(g.Pool, da, w, g.Rows(0, x), true)
	}
}

// BackwardInput implements adapters.Kind.
func (k Kind) BackwardInput(g adapters.Group, row []float32, dx, _ kernels.Matrix) {
	_, w := k.state(g)
	g.AddProduct(0, dx, w, kernels.Dense(row[:k.Rank*dx.Cols], k.Rank, dx.Cols), nil)
}

// Pack writes a row from A: [rank, in] and B: [out, rank], as Hugging Face has them; Unpack goes back.
func (k Kind) Pack(row, a, b []float32) {
	copy(row, a)
	bt, out := row[len(a):], len(b)/k.Rank
	for i := range out {
		for j := range k.Rank {
			bt[j*out+i] = b[i*k.Rank+j]
		}
	}
}

// Unpack returns A: [rank, In], a part of the row, and B: [Out, rank].
func (k Kind) Unpack(row []float32, d adapters.Dims) (a, b []float32) {
	ma, mb := k.split(row, d.In, d.Out)
	b = make([]float32, len(mb.Data))
	for i := range d.Out {
		for j := range k.Rank {
			b[i*k.Rank+j] = mb.Data[j*d.Out+i]
		}
	}
	return ma.Data, b
}
