// Package ia3 is IA³ (arXiv 2205.05638, section 3.3): activations times a learned vector l, here as the contribution d ⊙ x
// with l = 1 + d, so that sets add up.
package ia3

import (
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Kind is the vector on one side of a layer. A row is d: [In], as long as Out.
type Kind struct{ port adapters.Port }

var (
	// Output rescales what a layer gives, as for keys and values.
	Output = Kind{adapters.OutOut}
	// Input rescales what a layer reads, as in front of a feed-forward layer's second product.
	Input = Kind{adapters.InIn}
)

var _ adapters.Kind = Output

// Parse returns the kind of that name, and whether there is one.
func Parse(name string) (adapters.Kind, bool) {
	for _, k := range []Kind{Output, Input} {
		if k.Name() == name {
			return k, true
		}
	}
	return nil, false
}

// Name implements adapters.Kind.
func (k Kind) Name() string {
	if k == Input {
		return "ia3-input"
	}
	return "ia3"
}

// Port implements adapters.Kind.
func (k Kind) Port() adapters.Port { return k.port }

// Width implements adapters.Kind.
func (k Kind) Width(d adapters.Dims) int { return d.Out }

// State implements adapters.Kind.
func (k Kind) State(adapters.Dims) int { return 0 }

// Init implements adapters.Kind: d = 0.
func (k Kind) Init(row []float32, d adapters.Dims, _ *rand.Rand) { clear(row[:d.Out]) }

// Forward implements adapters.Kind.
func (k Kind) Forward(g adapters.Group, row []float32, y, x kernels.Matrix) { addProduct(g, y, x, row) }

// Backward implements adapters.Kind.
func (k Kind) Backward(g adapters.Group, row, grad, dGates []float32, dy, x kernels.Matrix) {
	xs, ds := g.Rows(0, x), g.Rows(1, dy)
	if grad != nil {
		kernels.AddDiagonalGradient(g.Pool, grad, ds, xs, g.Gates)
	}
	if dGates == nil {
		return
	}
	part := g.Room(2, 1, len(row)).Data
	for i := range dGates {
		kernels.Mul(part, ds.Row(i), xs.Row(i))
		dGates[i] = kernels.Dot(part, row)
	}
}

// BackwardInput implements adapters.Kind.
func (k Kind) BackwardInput(g adapters.Group, row []float32, dx, dy kernels.Matrix) {
	addProduct(g, dx, dy, row)
}

// addProduct adds gate·d⊙x to the rows of y.
func addProduct(g adapters.Group, y, x kernels.Matrix, d []float32) {
	if g.Tokens == nil {
		kernels.AddDiagonal(g.Pool, y.Slice(0, g.Len()), x.Slice(0, g.Len()), d, g.Gates)
		return
	}
	part := g.Room(0, 1, len(d)).Data
	for i, t := range g.Tokens {
		kernels.MulScale(part, d, x.Row(int(t)), g.Gates[i])
		row := y.Row(int(t))
		kernels.Add(row, row, part)
	}
}
