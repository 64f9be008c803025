// Package adaptertest holds the tests that every kind of expert must pass.
package adaptertest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// batch is a small batch: tokens rows of x, and groups of tokens for each expert, one token in a group twice; of a kind
// whose experts do not add up, one expert for all tokens.
type batch struct {
	kind   adapters.Kind
	dims   adapters.Dims
	rows   [][]float32
	groups []adapters.Group
	x      kernels.Matrix
	tokens int
}

func newBatch(kind adapters.Kind, d adapters.Dims, seed uint64) *batch {
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := &batch{kind: kind, dims: d, tokens: 6, x: randn(rnd, 6, d.In)}
	all := [][]uint32{{0, 2, 2, 5}, {1}, {0, 1, 2, 3, 4, 5}, nil}
	if !kind.Port().Additive() {
		all = all[3:]
	}
	for _, tokens := range all {
		row := make([]float32, kind.Width(d))
		for i := range row {
			row[i] = float32(rnd.NormFloat64() * 0.4)
		}
		if w, ok := kind.(adapters.Weighted); ok { // norms are not near 0
			lo, hi := w.Constant(d)
			for i := lo; i < hi; i++ {
				row[i] = 1 + rnd.Float32()
			}
		}
		n := len(tokens)
		if tokens == nil {
			n = b.tokens
		}
		g := adapters.Group{Tokens: tokens, Gates: make([]float32, n), State: make([]float32, n*kind.State(d)), Memory: new(adapters.Memory)}
		for i := range g.Gates {
			g.Gates[i] = rnd.Float32()
		}
		b.rows, b.groups = append(b.rows, row), append(b.groups, g)
	}
	return b
}

func randn(rnd *rand.Rand, rows, cols int) kernels.Matrix {
	m := zeros(rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(rnd.NormFloat64())
	}
	return m
}

func zeros(rows, cols int) kernels.Matrix {
	return kernels.Dense(make([]float32, rows*cols), rows, cols)
}

// forward returns y: [tokens, Out].
func (b *batch) forward() kernels.Matrix {
	y := zeros(b.tokens, b.dims.Out)
	for i, g := range b.groups {
		b.kind.Forward(g, b.rows[i], y, b.x)
	}
	return y
}

// Run tests one kind, on inputs whose width fits vectors and on others.
func Run(t *testing.T, kind adapters.Kind) {
	tests := map[string]func(t *testing.T, kind adapters.Kind, d adapters.Dims){
		"gradients": gradients, "new is silent": silent, "gates": gates, "frozen": frozen, "learns": learns, "gaps": gaps,
	}
	if kind.Port().Additive() {
		tests["additive"], tests["dense"] = additive, dense
	}
	if _, ok := kind.(adapters.Writing); ok {
		tests["writes"] = writes
	}
	if _, ok := kind.(adapters.Aiming); ok {
		tests["aims"] = aims
	}
	for name, f := range tests {
		for _, w := range [][2]int{{19, 19}, {32, 32}, {20, 57}} {
			d := kind.Port().Dims(w[0], w[1])
			t.Run(fmt.Sprintf("%s/%d to %d", name, d.In, d.Out), func(t *testing.T) { f(t, kind, d) })
		}
	}
}

// writes: what writes is 0 in a new row and nothing else is, and where experts add up twice of it gives twice the output.
func writes(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	lo, hi := kind.(adapters.Writing).Writes(d)
	row := make([]float32, kind.Width(d))
	kind.Init(row, d, rand.New(rand.NewPCG(6, 1)))
	for i, v := range row[:hi] {
		if (v == 0) != (i >= lo) {
			t.Fatalf("value %d of a new row is %v, and [%d, %d) write", i, v, lo, hi)
		}
	}
	if !kind.Port().Additive() {
		return
	}
	b := newBatch(kind, d, 6)
	once := b.forward()
	for _, row := range b.rows {
		for i := lo; i < hi; i++ {
			row[i] *= 2
		}
	}
	for i, v := range b.forward().Data {
		if want := 2 * once.Data[i]; math.Abs(float64(v-want)) > 1e-4*(1+math.Abs(float64(want))) {
			t.Fatalf("value %d is %v with twice of what writes, want %v", i, v, want)
		}
	}
}

// aims: a new expert that was aimed is still silent, and once it speaks, more of its output lies on the inputs it was aimed
// at than of another's.
func aims(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	rnd := rand.New(rand.NewPCG(8, 1))
	mean := randn(rnd, 1, d.In).Data
	said := func(aimed bool) (toward float64) {
		b := newBatch(kind, d, 9)
		for i := range b.rows {
			b.rows[i] = make([]float32, kind.Width(d))
			kind.Init(b.rows[i], d, rand.New(rand.NewPCG(10, uint64(i))))
			if aimed {
				kind.(adapters.Aiming).Aim(b.rows[i], mean, d)
			}
		}
		for i := range b.tokens {
			for j := range b.x.Row(i) {
				b.x.Row(i)[j] = mean[j] + b.x.Row(i)[j]/2
			}
		}
		for i, v := range b.forward().Data {
			if v != 0 {
				t.Fatalf("value %d of a new expert's output is %v, aimed %t", i, v, aimed)
			}
		}
		lo, hi := kind.(adapters.Writing).Writes(d)
		for _, row := range b.rows {
			for i := range row[lo:hi] {
				row[lo+i] = 1
			}
		}
		for _, v := range b.forward().Data {
			toward += float64(v)
		}
		return toward
	}
	if random, aimed := said(false), said(true); aimed <= 1.5*random {
		t.Fatalf("experts say %g where they were aimed, %g where they were not", aimed, random)
	}
}

// constant reports whether a value of the row is not to be learned.
func (b *batch) constant(i int) bool {
	if w, ok := b.kind.(adapters.Weighted); ok {
		lo, hi := w.Constant(b.dims)
		return i >= lo && i < hi
	}
	return false
}

// gradients compares Backward and BackwardInput to finite differences of Forward.
func gradients(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	b := newBatch(kind, d, 2)
	dy := randn(rand.New(rand.NewPCG(3, 3)), b.tokens, d.Out)
	loss := func() float64 {
		var sum float64
		for i, v := range b.forward().Data {
			sum += float64(v) * float64(dy.Data[i])
		}
		return sum
	}
	b.forward()
	dx := zeros(b.tokens, d.In)
	dRow, dGates := make([][]float32, len(b.rows)), make([][]float32, len(b.rows))
	for i, g := range b.groups {
		dRow[i], dGates[i] = make([]float32, len(b.rows[i])), make([]float32, g.Len())
		kind.Backward(g, b.rows[i], dRow[i], dGates[i], dy, b.x)
		kind.BackwardInput(g, b.rows[i], dx, dy)
	}
	check := func(what string, v, grad []float32, constant func(i int) bool) {
		for i := range v {
			if constant(i) {
				if grad[i] != 0 {
					t.Fatalf("%s[%d]: %g of a constant", what, i, grad[i])
				}
				continue
			}
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
	never := func(int) bool { return false }
	check("dx", b.x.Data, dx.Data, never)
	for i := range b.rows {
		check("dRow", b.rows[i], dRow[i], b.constant)
		check("dGates", b.groups[i].Gates, dGates[i], never)
	}
}

// silent: a new expert adds exactly nothing.
func silent(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	b := newBatch(kind, d, 4)
	for i := range b.rows {
		kind.Init(b.rows[i], d, rand.New(rand.NewPCG(5, uint64(i))))
	}
	for i, v := range b.forward().Data {
		if v != 0 {
			t.Fatalf("y[%d] = %g", i, v)
		}
	}
}

// additive: Forward adds to what is there, the same bits whether a token is alone in its group or not.
func additive(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	b := newBatch(kind, d, 6)
	b.rows, b.groups = b.rows[:3], b.groups[:3]
	want := b.forward()
	y := zeros(b.tokens, d.Out)
	for i, g := range b.groups {
		for j := range g.Tokens {
			one := adapters.Group{Tokens: g.Tokens[j : j+1], Gates: g.Gates[j : j+1], State: make([]float32, kind.State(d)), Memory: g.Memory}
			kind.Forward(one, b.rows[i], y, b.x)
		}
	}
	if !slices.Equal(y.Data, want.Data) {
		t.Fatal("one token at a time gives other bits")
	}
}

// dense: naming all tokens gives what naming none does.
func dense(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	run := func(expert int) (y, dx kernels.Matrix, grad []float32) {
		b := newBatch(kind, d, 10)
		b.groups[2].Gates = b.groups[3].Gates
		y, dx, grad = zeros(b.tokens, d.Out), zeros(b.tokens, d.In), make([]float32, len(b.rows[2]))
		kind.Forward(b.groups[expert], b.rows[2], y, b.x)
		kind.Backward(b.groups[expert], b.rows[2], grad, nil, y, b.x)
		kind.BackwardInput(b.groups[expert], b.rows[2], dx, y)
		return y, dx, grad
	}
	y, dx, grad := run(2)
	allY, allDx, allGrad := run(3)
	for what, c := range map[string][2][]float32{"y": {y.Data, allY.Data}, "dx": {dx.Data, allDx.Data}, "the row's gradient": {grad, allGrad}} {
		for i, v := range c[0] {
			if math.Abs(float64(v-c[1][i])) > 1e-5*(1+math.Abs(float64(v))) {
				t.Fatalf("%s[%d]: %g by tokens, %g of all", what, i, v, c[1][i])
			}
		}
	}
}

// gaps: rows with gaps between them, and threads, change nothing, and no bit of a group of all tokens.
func gaps(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	run := func(p *kernels.Pool, i, gap int) (all []float32) {
		b := newBatch(kind, d, 11)
		wide := func(m kernels.Matrix) kernels.Matrix {
			w := kernels.Matrix{Data: make([]float32, m.Rows*(m.Cols+gap)), Rows: m.Rows, Cols: m.Cols, Stride: m.Cols + gap}
			for i := range m.Rows {
				copy(w.Row(i), m.Row(i))
			}
			return w
		}
		g := b.groups[i]
		g.Pool = p
		x, y, dx := wide(b.x), wide(zeros(b.tokens, d.Out)), wide(zeros(b.tokens, d.In))
		grad := make([]float32, len(b.rows[i]))
		kind.Forward(g, b.rows[i], y, x)
		kind.Backward(g, b.rows[i], grad, nil, y, x)
		kind.BackwardInput(g, b.rows[i], dx, y)
		for i := range b.tokens {
			all = append(append(all, y.Row(i)...), dx.Row(i)...)
		}
		return append(all, grad...)
	}
	for i, g := range newBatch(kind, d, 11).groups {
		want, got := run(nil, i, 0), run(pool, i, 13)
		for j, v := range want {
			if d := math.Abs(float64(v - got[j])); d > 1e-5*(1+math.Abs(float64(v))) || g.Tokens == nil && d > 0 {
				t.Fatalf("group %d: value %d is %g, with gaps between rows and two threads %g", i, j, v, got[j])
			}
		}
	}
}

// gates: the contribution is linear in the gate, and 0 for gate 0.
func gates(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	b := newBatch(kind, d, 7)
	one := b.forward()
	for _, g := range b.groups {
		for i := range g.Gates {
			g.Gates[i] *= 2
		}
	}
	for i, v := range b.forward().Data {
		if math.Abs(float64(v-2*one.Data[i])) > 1e-5*(1+math.Abs(float64(v))) {
			t.Fatalf("y[%d]: %g with gates doubled, %g before", i, v, one.Data[i])
		}
	}
	for _, g := range b.groups {
		clear(g.Gates)
	}
	for _, v := range b.forward().Data {
		if v != 0 {
			t.Fatalf("%g with gates 0", v)
		}
	}
}

// frozen: without a gradient of its row, an expert passes the same gradient on to its input.
func frozen(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	dx := func(frozen bool) []float32 {
		b := newBatch(kind, d, 8)
		dy := b.forward()
		to := zeros(b.tokens, d.In)
		for i, g := range b.groups {
			var grad []float32
			if !frozen {
				grad = make([]float32, len(b.rows[i]))
			}
			kind.Backward(g, b.rows[i], grad, nil, dy, b.x)
			kind.BackwardInput(g, b.rows[i], to, dy)
		}
		return to.Data
	}
	if !slices.Equal(dx(true), dx(false)) {
		t.Fatal("dx depends on whether the row is trained")
	}
}

// learns: a new expert has a gradient that is not zero.
func learns(t *testing.T, kind adapters.Kind, d adapters.Dims) {
	b := newBatch(kind, d, 9)
	row := b.rows[0]
	kind.Init(row, d, rand.New(rand.NewPCG(1, 1)))
	b.forward()
	grad := make([]float32, len(row))
	kind.Backward(b.groups[0], row, grad, nil, randn(rand.New(rand.NewPCG(4, 4)), b.tokens, d.Out), b.x)
	for _, v := range grad {
		if v != 0 {
			return
		}
	}
	t.Fatal("the gradient of a new row is zero")
}
