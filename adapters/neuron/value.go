package neuron

import (
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Value is the value of a product-key memory (arXiv 1907.05242, section 3.1): a neuron without input weights, f(x) = v. A
// row is v: [Out].
var Value adapters.Kind = value{}

type value struct{}

// Name implements adapters.Kind.
func (value) Name() string { return "value" }

// Port implements adapters.Kind.
func (value) Port() adapters.Port { return adapters.InOut }

// Width implements adapters.Kind.
func (value) Width(d adapters.Dims) int { return d.Out }

// State implements adapters.Kind.
func (value) State(adapters.Dims) int { return 0 }

// Init implements adapters.Kind: v = 0.
func (value) Init(row []float32, d adapters.Dims, _ *rand.Rand) { clear(row[:d.Out]) }

// Forward implements adapters.Kind.
func (value) Forward(g adapters.Group, row []float32, y, _ kernels.Matrix) {
	spread(g, y, g.Gates, row)
}

// Backward implements adapters.Kind.
func (value) Backward(g adapters.Group, row, grad, dGates []float32, dy, _ kernels.Matrix) {
	if grad != nil {
		sum(g, grad, dy, g.Gates)
	}
	if dGates != nil {
		dots(g, dGates, dy, row)
	}
}

// BackwardInput implements adapters.Kind: the value does not depend on x.
func (value) BackwardInput(_ adapters.Group, _ []float32, _, _ kernels.Matrix) {}
