package neuron

import (
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Value is the value of a product-key memory (arXiv 1907.05242, section 3.1): a neuron without input weights, f(x) = v. A
// row is v, of the width of the input.
var Value adapters.Kind = value{}

type value struct{}

// Name implements adapters.Kind.
func (value) Name() string { return "value" }

// Width implements adapters.Kind.
func (value) Width(hidden int) int { return hidden }

// State implements adapters.Kind.
func (value) State() int { return 0 }

// Init implements adapters.Kind: v = 0.
func (value) Init(row []float32, hidden int, _ *rand.Rand) { clear(row[:hidden]) }

// Forward implements adapters.Kind.
func (value) Forward(g adapters.Group, row, y, _ []float32, hidden int) {
	kernels.ScatterAxpy(y, hidden, g.Tokens, g.Gates, row)
}

// Backward implements adapters.Kind.
func (value) Backward(g adapters.Group, row, grad, dGates, dy, _ []float32, hidden int) {
	if grad != nil {
		kernels.GatherAxpy(grad, dy, hidden, g.Tokens, g.Gates)
	}
	if dGates != nil {
		kernels.GatherDot(dGates, dy, hidden, g.Tokens, row)
	}
}

// BackwardInput implements adapters.Kind: the value does not depend on x.
func (value) BackwardInput(adapters.Group, []float32, []float32, int) {}
