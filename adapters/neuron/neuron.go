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

// Kind is the neuron with one activation σ. A row is u: [In], then v: [Out].
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

var (
	_ adapters.Gatherer = SiLU
	_ adapters.Writing  = SiLU
	_ adapters.Aiming   = SiLU
)

// Name implements adapters.Kind.
func (k *Kind) Name() string { return k.name }

// Port implements adapters.Kind.
func (k *Kind) Port() adapters.Port { return adapters.InOut }

// Width implements adapters.Kind: u and v.
func (k *Kind) Width(d adapters.Dims) int { return d.In + d.Out }

// Writes implements adapters.Writing: v.
func (k *Kind) Writes(d adapters.Dims) (lo, hi int) { return d.In, d.In + d.Out }

// State implements adapters.Kind: u·x, and gate·σ(u·x), which becomes the gradient of u·x.
func (k *Kind) State(adapters.Dims) int { return 2 }

// Init implements adapters.Kind: u ~ N(0, 1/In), v = 0.
func (k *Kind) Init(row []float32, d adapters.Dims, rnd *rand.Rand) {
	std := 1 / math.Sqrt(float64(d.In))
	for i := range row[:d.In] {
		row[i] = float32(rnd.NormFloat64() * std)
	}
	clear(row[d.In : d.In+d.Out])
}

// astray is how much is left in an aimed u of what Init drew, which keeps experts of like means apart.
const astray = 0.3

// Aim implements adapters.Aiming: of u little stays but what makes u·mean = 1, near where SiLU begins to pass its input. A
// mean shorter than 1 says nothing and changes nothing, as does one that is too long for numbers.
func (k *Kind) Aim(row, mean []float32, d adapters.Dims) {
	norm := kernels.Dot(mean, mean)
	if !(norm >= 1) || math.IsInf(float64(norm), 1) {
		return
	}
	for i, m := range mean[:d.In] {
		row[i] = astray*row[i] + m/norm
	}
}

// split returns a group's two state vectors.
func split(g adapters.Group) (h, w []float32) {
	n := g.Len()
	if len(g.State) < 2*n {
		panic(fmt.Sprintf("neuron: state of %d values for %d tokens", len(g.State), n))
	}
	return g.State[:n], g.State[n : 2*n]
}

// Forward implements adapters.Kind.
func (k *Kind) Forward(g adapters.Group, row []float32, y, x kernels.Matrix) {
	h, w := split(g)
	dots(g, h, x, row[:x.Cols])
	k.act(w, h)
	kernels.Mul(w, w, g.Gates)
	spread(g, y, w, row[x.Cols:])
}

// Gather implements adapters.Gatherer.
func (k *Kind) Gather(y, x []float32, table []uint16, rows, next []uint32, gates, state []float32) {
	n, width := len(rows), len(x)+len(y)
	h, w := state[:n], state[n:2*n]
	kernels.GatherDotBF16(h, table, width, rows, next, x)
	k.act(w, h)
	kernels.Mul(w, w, gates)
	kernels.GatherAxpyBF16(y, table[len(x):], width, rows, next, w)
}

// Backward implements adapters.Kind.
func (k *Kind) Backward(g adapters.Group, row, grad, dGates []float32, dy, x kernels.Matrix) {
	h, w := split(g)
	in := x.Cols
	if grad != nil {
		sum(g, grad[in:], dy, w)
	}
	dots(g, w, dy, row[in:])
	if dGates != nil {
		k.act(dGates, h)
		kernels.Mul(dGates, dGates, w)
	}
	kernels.Mul(w, w, g.Gates)
	k.backward(w, w, h)
	if grad != nil {
		sum(g, grad[:in], x, w)
	}
}

// BackwardInput implements adapters.Kind.
func (k *Kind) BackwardInput(g adapters.Group, row []float32, dx, _ kernels.Matrix) {
	_, w := split(g)
	spread(g, dx, w, row[:dx.Cols])
}

// dots writes out[i] = x_i·v, with x_i the row of pair i.
func dots(g adapters.Group, out []float32, x kernels.Matrix, v []float32) {
	if gathers(g, x) {
		kernels.GatherDot(out, x.Data, x.Cols, g.Tokens, v)
		return
	}
	for i := range out {
		out[i] = kernels.Dot(x.Row(g.Token(i)), v[:x.Cols])
	}
}

// sum adds Σ w[i]·x_i to out.
func sum(g adapters.Group, out []float32, x kernels.Matrix, w []float32) {
	if gathers(g, x) {
		kernels.GatherAxpy(out, x.Data, x.Cols, g.Tokens, w)
		return
	}
	for i, w := range w {
		kernels.Axpy(w, x.Row(g.Token(i)), out)
	}
}

// spread adds w[i]·v to the rows y_i.
func spread(g adapters.Group, y kernels.Matrix, w, v []float32) {
	if gathers(g, y) {
		kernels.ScatterAxpy(y.Data, y.Cols, g.Tokens, w, v)
		return
	}
	for i, w := range w {
		kernels.Axpy(w, v[:y.Cols], y.Row(g.Token(i)))
	}
}

// gathers reports whether the kernels that gather rows can take a group's.
func gathers(g adapters.Group, m kernels.Matrix) bool { return g.Tokens != nil && m.Stride == m.Cols }
