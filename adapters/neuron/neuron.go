// Package neuron is the expert of arXiv 2407.04153 (section 2): one hidden neuron, f(x) = σ(u·x)·v; and what is left of it
// in a product-key memory, f(x) = v.
package neuron

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Kind is the neuron with one activation σ. A row is u then v, each of the width of the input.
type Kind struct {
	name     string
	act      func(y, x []float32)
	backward func(dx, dy, x []float32)
}

// The neurons there are.
var (
	// SiLU is the default.
	SiLU = &Kind{"neuron", kernels.SiLU, kernels.SiLUBackward}
	// GELU, in its exact form, is the paper's.
	GELU = &Kind{"neuron-gelu", kernels.GELU, kernels.GELUBackward}
)

var _ adapters.Gatherer = SiLU

// Name implements adapters.Kind.
func (k *Kind) Name() string { return k.name }

// Width implements adapters.Kind: u and v.
func (k *Kind) Width(hidden int) int { return 2 * hidden }

// State implements adapters.Kind: u·x, and gate·σ(u·x), which becomes the gradient of u·x.
func (k *Kind) State() int { return 2 }

// Init implements adapters.Kind: u ~ N(0, 1/hidden), v = 0.
func (k *Kind) Init(row []float32, hidden int, rnd *rand.Rand) {
	std := 1 / math.Sqrt(float64(hidden))
	for i := range row[:hidden] {
		row[i] = float32(rnd.NormFloat64() * std)
	}
	clear(row[hidden : 2*hidden])
}

// split returns a group's two state vectors.
func split(g adapters.Group) (h, w []float32) {
	n := len(g.Tokens)
	if len(g.State) < 2*n {
		panic(fmt.Sprintf("neuron: state of %d values for %d tokens", len(g.State), n))
	}
	return g.State[:n], g.State[n : 2*n]
}

// Forward implements adapters.Kind.
func (k *Kind) Forward(g adapters.Group, row, y, x []float32, hidden int) {
	h, w := split(g)
	kernels.GatherDot(h, x, hidden, g.Tokens, row[:hidden])
	k.act(w, h)
	kernels.Mul(w, w, g.Gates)
	kernels.ScatterAxpy(y, hidden, g.Tokens, w, row[hidden:])
}

// Gather implements adapters.Gatherer.
func (k *Kind) Gather(y, x []float32, table []uint16, rows, next []uint32, gates, state []float32) {
	n, width := len(rows), 2*len(x)
	h, w := state[:n], state[n:2*n]
	kernels.GatherDotBF16(h, table, width, rows, next, x)
	k.act(w, h)
	kernels.Mul(w, w, gates)
	kernels.GatherAxpyBF16(y, table[len(x):], width, rows, next, w)
}

// Backward implements adapters.Kind.
func (k *Kind) Backward(g adapters.Group, row, grad, dGates, dy, x []float32, hidden int) {
	h, w := split(g)
	if grad != nil {
		kernels.GatherAxpy(grad[hidden:], dy, hidden, g.Tokens, w)
	}
	kernels.GatherDot(w, dy, hidden, g.Tokens, row[hidden:])
	if dGates != nil {
		k.act(dGates, h)
		kernels.Mul(dGates, dGates, w)
	}
	kernels.Mul(w, w, g.Gates)
	k.backward(w, w, h)
	if grad != nil {
		kernels.GatherAxpy(grad[:hidden], x, hidden, g.Tokens, w)
	}
}

// BackwardInput implements adapters.Kind.
func (k *Kind) BackwardInput(g adapters.Group, row, dx []float32, hidden int) {
	_, w := split(g)
	kernels.ScatterAxpy(dx, hidden, g.Tokens, w, row[:hidden])
}
