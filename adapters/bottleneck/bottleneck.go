// Package bottleneck is the adapter of two small layers with a non-linearity between them, f(x) = U·σ(D·x + b) + c: on a
// layer's output as in arXiv 1902.00751 (section 2.1) and 2005.00247, or beside a layer as in arXiv 2110.04366 (section 3.2).
package bottleneck

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// MaxRank bounds the rank in a name.
const MaxRank = 1 << 16

// Kind is the adapter of one rank, non-linearity and place. A row is D: [rank, In], b: [rank], Uᵀ: [rank, Out], c: [Out].
type Kind struct {
	Rank   int
	Act    Activation
	Serial bool // reads the layer's own output instead of its input
}

var _ adapters.Kind = Kind{}

// Activation is a non-linearity.
type Activation string

// The activations.
const (
	ReLU Activation = "relu"
	GELU Activation = "gelu"
	SiLU Activation = "silu"
)

type functions struct{ forward, backward func(y, dy, x []float32) }

var activations = map[Activation]functions{
	ReLU: {func(y, _, x []float32) {
		for i, v := range x {
			y[i] = max(v, 0)
		}
	}, func(dx, dy, x []float32) {
		for i, v := range x {
			if dx[i] = dy[i]; v <= 0 {
				dx[i] = 0
			}
		}
	}},
	GELU: {func(y, _, x []float32) { kernels.GELU(y, x) }, kernels.GELUBackward},
	SiLU: {func(y, _, x []float32) { kernels.SiLU(y, x) }, kernels.SiLUBackward},
}

// Parse returns the kind of that name, and whether there is one.
func Parse(name string) (adapters.Kind, bool) {
	parts := strings.Split(name, "-")
	if len(parts) < 3 || len(parts) > 4 {
		return nil, false
	}
	rank, err := strconv.Atoi(strings.TrimPrefix(parts[1], "r"))
	k := Kind{Rank: rank, Act: Activation(parts[2]), Serial: len(parts) == 4}
	return k, err == nil && k.Check() == nil && k.Name() == name
}

// Check reports a rank or a non-linearity that cannot be.
func (k Kind) Check() error {
	if k.Rank < 1 || k.Rank > MaxRank {
		return fmt.Errorf("bottleneck: rank %d, want 1 to %d", k.Rank, MaxRank)
	}
	if _, ok := activations[k.Act]; !ok {
		return fmt.Errorf("bottleneck: activation %q, want %q, %q or %q", k.Act, ReLU, GELU, SiLU)
	}
	return nil
}

// Name implements adapters.Kind.
func (k Kind) Name() string {
	s := fmt.Sprintf("bottleneck-r%d-%s", k.Rank, k.Act)
	if k.Serial {
		s += "-serial"
	}
	return s
}

// Port implements adapters.Kind.
func (k Kind) Port() adapters.Port {
	if k.Serial {
		return adapters.OutOut
	}
	return adapters.InOut
}

// Width implements adapters.Kind: D, b, U and c.
func (k Kind) Width(d adapters.Dims) int { return k.Rank*(d.In+1+d.Out) + d.Out }

// State implements adapters.Kind: D·x + b, and gate·σ of it, which becomes its gradient.
func (k Kind) State(adapters.Dims) int { return 2 * k.Rank }

// Init implements adapters.Kind: D uniform between ±1/√In, all else 0.
func (k Kind) Init(row []float32, d adapters.Dims, rnd *rand.Rand) {
	clear(row[:k.Width(d)])
	bound := 1 / math.Sqrt(float64(d.In))
	for i := range k.Rank * d.In {
		row[i] = float32((2*rnd.Float64() - 1) * bound)
	}
}

// layers are a row's parts, or their gradients.
type layers struct {
	down, up kernels.Matrix // [rank, In], [rank, Out]
	b, c     []float32
}

func (k Kind) split(row []float32, in, out int) layers {
	r := k.Rank
	b, u := r*in, r*in+r
	c := u + r*out
	return layers{kernels.Dense(row[:b], r, in), kernels.Dense(row[u:c], r, out), row[b:u], row[c : c+out]}
}

func (k Kind) state(g adapters.Group) (h, w kernels.Matrix) {
	n := g.Len()
	size := n * k.Rank
	return kernels.Dense(g.State[:size], n, k.Rank), kernels.Dense(g.State[size:2*size], n, k.Rank)
}

// Forward implements adapters.Kind.
func (k Kind) Forward(g adapters.Group, row []float32, y, x kernels.Matrix) {
	l := k.split(row, x.Cols, y.Cols)
	h, w := k.state(g)
	kernels.MulNT(g.Pool, h, g.Rows(0, x), l.down, false)
	for i := range h.Rows {
		kernels.Add(h.Row(i), h.Row(i), l.b)
	}
	activations[k.Act].forward(w.Data, nil, h.Data)
	g.Weigh(w, 1)
	g.AddProduct(0, y, w, l.up, l.c)
}

// Backward implements adapters.Kind.
func (k Kind) Backward(g adapters.Group, row, grad, dGates []float32, dy, x kernels.Matrix) {
	l := k.split(row, x.Cols, dy.Cols)
	h, w := k.state(g)
	ds := g.Rows(0, dy)
	var d layers
	if grad != nil {
		d = k.split(grad, x.Cols, dy.Cols)
		kernels.MulTN(g.Pool, d.up, w, ds, true)
		for i, gate := range g.Gates {
			kernels.Axpy(gate, ds.Row(i), d.c)
		}
	}
	kernels.MulNT(g.Pool, w, ds, l.up, false)
	if dGates != nil {
		act := g.Room(2, 1, k.Rank).Data
		for i := range dGates {
			activations[k.Act].forward(act, nil, h.Row(i))
			dGates[i] = kernels.Dot(act, w.Row(i)) + kernels.Dot(l.c, ds.Row(i))
		}
	}
	g.Weigh(w, 1)
	activations[k.Act].backward(w.Data, w.Data, h.Data)
	if grad != nil {
		kernels.MulTN(g.Pool, d.down, w, g.Rows(0, x), true)
		for i := range w.Rows {
			kernels.Add(d.b, d.b, w.Row(i))
		}
	}
}

// BackwardInput implements adapters.Kind.
func (k Kind) BackwardInput(g adapters.Group, row []float32, dx, dy kernels.Matrix) {
	_, w := k.state(g)
	g.AddProduct(0, dx, w, k.split(row, dx.Cols, dy.Cols).down, nil)
}
