// Package adaptertest holds the tests that every kind of expert must pass.
package adaptertest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters"
)

// batch is a small batch: tokens rows of x, and groups of tokens for each expert, one token in a group twice.
type batch struct {
	kind   adapters.Kind
	hidden int
	rows   [][]float32
	groups []adapters.Group
	x      []float32
	tokens int
}

func newBatch(kind adapters.Kind, hidden int, seed uint64) *batch {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := &batch{kind: kind, hidden: hidden, tokens: 6, x: make([]float32, 6*hidden)}
	for i := range b.x {
		b.x[i] = float32(rnd.NormFloat64())
	}
	for _, tokens := range [][]uint32{{0, 2, 2, 5}, {1}, {0, 1, 2, 3, 4, 5}} {
		row := make([]float32, kind.Width(hidden))
		for i := range row {
			row[i] = float32(rnd.NormFloat64() * 0.4)
		}
		g := adapters.Group{Tokens: tokens, Gates: make([]float32, len(tokens)), State: make([]float32, len(tokens)*kind.State())}
		for i := range g.Gates {
			g.Gates[i] = rnd.Float32()
		}
		b.rows, b.groups = append(b.rows, row), append(b.groups, g)
	}
	return b
}

// forward returns y: [tokens, hidden].
func (b *batch) forward() []float32 {
	y := make([]float32, len(b.x))
	for i, g := range b.groups {
		b.kind.Forward(g, b.rows[i], y, b.x, b.hidden)
	}
	return y
}

// Run tests one kind, on inputs whose width fits vectors and on others.
func Run(t *testing.T, kind adapters.Kind) {
	for name, f := range map[string]func(t *testing.T, kind adapters.Kind, hidden int){
		"gradients": gradients, "new is silent": silent, "additive": additive, "gates": gates, "frozen": frozen, "learns": learns,
	} {
		for _, hidden := range []int{19, 32} {
			t.Run(fmt.Sprintf("%s/width %d", name, hidden), func(t *testing.T) { f(t, kind, hidden) })
		}
	}
}

// gradients compares Backward and BackwardInput to finite differences of Forward.
func gradients(t *testing.T, kind adapters.Kind, hidden int) {
	b := newBatch(kind, hidden, 2)
	rnd := rand.New(rand.NewPCG(3, 3))
	dy := make([]float32, len(b.x))
	for i := range dy {
		dy[i] = float32(rnd.NormFloat64())
	}
	loss := func() float64 {
		var sum float64
		for i, v := range b.forward() {
			sum += float64(v) * float64(dy[i])
		}
		return sum
	}
	b.forward()
	dx := make([]float32, len(b.x))
	dRow, dGates := make([][]float32, len(b.rows)), make([][]float32, len(b.rows))
	for i, g := range b.groups {
		dRow[i], dGates[i] = make([]float32, len(b.rows[i])), make([]float32, len(g.Tokens))
		kind.Backward(g, b.rows[i], dRow[i], dGates[i], dy, b.x, hidden)
		kind.BackwardInput(g, b.rows[i], dx, hidden)
	}
	check := func(what string, v, grad []float32) {
		for i := range v {
			const h = 1e-2
			old := v[i]
			v[i] = old + h
			up := loss()
			v[i] = old - h
			down := loss()
			v[i] = old
			if want := (up - down) / (2 * h); math.Abs(want-float64(grad[i])) > 2e-3*(1+math.Abs(want)) {
				t.Fatalf("%s[%d]: %g, finite differences %g", what, i, grad[i], want)
			}
		}
	}
	check("dx", b.x, dx)
	for i := range b.rows {
		check("dRow", b.rows[i], dRow[i])
		check("dGates", b.groups[i].Gates, dGates[i])
	}
}

// silent: a new expert adds exactly nothing.
func silent(t *testing.T, kind adapters.Kind, hidden int) {
	b := newBatch(kind, hidden, 4)
	for i := range b.rows {
		kind.Init(b.rows[i], hidden, rand.New(rand.NewPCG(5, uint64(i))))
	}
	for i, v := range b.forward() {
		if v != 0 {
			t.Fatalf("y[%d] = %g", i, v)
		}
	}
}

// additive: Forward adds to what is there, the same bits whether a token is alone in its group or not.
func additive(t *testing.T, kind adapters.Kind, hidden int) {
	b := newBatch(kind, hidden, 6)
	want := b.forward()
	y := make([]float32, len(b.x))
	for i, g := range b.groups {
		for j := range g.Tokens {
			one := adapters.Group{Tokens: g.Tokens[j : j+1], Gates: g.Gates[j : j+1], State: make([]float32, kind.State())}
			kind.Forward(one, b.rows[i], y, b.x, hidden)
		}
	}
	if !slices.Equal(y, want) {
		t.Fatal("one token at a time gives other bits")
	}
}

// gates: the contribution is linear in the gate, and 0 for gate 0.
func gates(t *testing.T, kind adapters.Kind, hidden int) {
	b := newBatch(kind, hidden, 7)
	one := b.forward()
	for _, g := range b.groups {
		for i := range g.Gates {
			g.Gates[i] *= 2
		}
	}
	for i, v := range b.forward() {
		if math.Abs(float64(v-2*one[i])) > 1e-5*(1+math.Abs(float64(v))) {
			t.Fatalf("y[%d]: %g with gates doubled, %g before", i, v, one[i])
		}
	}
	for _, g := range b.groups {
		clear(g.Gates)
	}
	for _, v := range b.forward() {
		if v != 0 {
			t.Fatalf("%g with gates 0", v)
		}
	}
}

// frozen: without a gradient of its row, an expert passes the same gradient on to its input.
func frozen(t *testing.T, kind adapters.Kind, hidden int) {
	dx := func(frozen bool) []float32 {
		b := newBatch(kind, hidden, 8)
		dy := b.forward()
		d := make([]float32, len(b.x))
		for i, g := range b.groups {
			var grad []float32
			if !frozen {
				grad = make([]float32, len(b.rows[i]))
			}
			kind.Backward(g, b.rows[i], grad, nil, dy, b.x, hidden)
			kind.BackwardInput(g, b.rows[i], d, hidden)
		}
		return d
	}
	if !slices.Equal(dx(true), dx(false)) {
		t.Fatal("dx depends on whether the row is trained")
	}
}

// learns: a new expert has a gradient that is not zero.
func learns(t *testing.T, kind adapters.Kind, hidden int) {
	b := newBatch(kind, hidden, 9)
	row := b.rows[0]
	kind.Init(row, hidden, rand.New(rand.NewPCG(1, 1)))
	b.forward()
	grad := make([]float32, len(row))
	kind.Backward(b.groups[0], row, grad, nil, b.x, b.x, hidden)
	for _, v := range grad {
		if v != 0 {
			return
		}
	}
	t.Fatal("the gradient of a new row is zero")
}
