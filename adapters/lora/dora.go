package lora

import (
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// DoRA is weight-decomposed low-rank adaptation (arXiv 2402.09353, section 4.1): beside a frozen layer y = W·x it makes of
// its output m/n ⊙ (W + s·B·A)·x, with n the norms of the rows of W + s·B·A, so that
//
//	f([x, y]) = (m/n - 1) ⊙ y + m/n ⊙ s·B·A·x
//
// is what it adds. The gradient takes n for a constant (section 4.3), as Hugging Face does. Of a layer with a bias b, y is
// W·x + b and it reads y - b. A row is that of the Kind, then m: [Out], n: [Out] and b: [Out]; n and b are kept there so that
// only training needs the layer.
type DoRA struct{ Kind }

var (
	_ adapters.Kind     = DoRA{}
	_ adapters.Weighted = DoRA{}
)

// Name implements adapters.Kind.
func (k DoRA) Name() string { return "dora" + k.options() }

// Port implements adapters.Kind.
func (k DoRA) Port() adapters.Port { return adapters.BothOut }

// Width implements adapters.Kind: A, B, m, n and b.
func (k DoRA) Width(d adapters.Dims) int { return k.Kind.Width(inner(d)) + 3*d.Out }

// Writes implements adapters.Writing: B.
func (k DoRA) Writes(d adapters.Dims) (lo, hi int) { return k.Kind.Writes(inner(d)) }

// inner returns the widths of the low-rank part.
func inner(d adapters.Dims) adapters.Dims { return adapters.Dims{In: d.In - d.Out, Out: d.Out} }

// Init implements adapters.Kind: m = n until Fit knows W.
func (k DoRA) Init(row []float32, d adapters.Dims, rnd *rand.Rand) {
	k.Kind.Init(row, inner(d), rnd)
	m, n, b := k.vectors(row, d.Out)
	clear(b)
	for i := range m {
		m[i], n[i] = 1, 1
	}
}

// vectors returns m, n and the bias.
func (k DoRA) vectors(row []float32, out int) (m, n, bias []float32) {
	tail := row[len(row)-3*out:]
	return tail[:out], tail[out : 2*out], tail[2*out:]
}

// State implements adapters.Kind: that of the low-rank part, and s·B·A·x, which becomes its gradient.
func (k DoRA) State(d adapters.Dims) int { return k.Kind.State(inner(d)) + d.Out }

// parts returns the low-rank part's group, and s·B·A·x of each pair.
func (k DoRA) parts(g adapters.Group, out int) (low adapters.Group, bax kernels.Matrix) {
	n := g.Len() * 2 * k.Rank
	low = g
	low.State = g.State[:n]
	return low, kernels.Dense(g.State[n:n+g.Len()*out], g.Len(), out)
}

// Forward implements adapters.Kind. Its groups are of all tokens.
func (k DoRA) Forward(g adapters.Group, row []float32, y, x kernels.Matrix) {
	in, out := x.Cols-y.Cols, y.Cols
	m, n, bias := k.vectors(row, out)
	low, bax := k.parts(g, out)
	a, b := k.split(row, in, out)
	h, w := k.state(low)
	kernels.MulNT(g.Pool, h, x.Columns(0, in).Slice(0, g.Len()), a, false)
	copy(w.Data, h.Data)
	for i := range w.Data {
		w.Data[i] *= k.Scale()
	}
	kernels.MulNN(g.Pool, bax, w, b, false)
	for i, gate := range g.Gates {
		yr, own, low := y.Row(i), x.Row(i)[in:], bax.Row(i)
		for j := range yr {
			c := m[j] / n[j]
			yr[j] += gate * ((c-1)*(own[j]-bias[j]) + c*low[j])
		}
	}
}

// Backward implements adapters.Kind.
func (k DoRA) Backward(g adapters.Group, row, grad, dGates []float32, dy, x kernels.Matrix) {
	in, out := x.Cols-dy.Cols, dy.Cols
	m, n, bias := k.vectors(row, out)
	low, bax := k.parts(g, out)
	_, b := k.split(row, in, out)
	h, w := k.state(low)
	var dm []float32
	if grad != nil {
		dm, _, _ = k.vectors(grad, out)
	}
	for i, gate := range g.Gates {
		d, own, l := dy.Row(i), x.Row(i)[in:], bax.Row(i)
		var dg float32
		for j := range d {
			c := m[j] / n[j]
			if dm != nil {
				dm[j] += gate * d[j] * (own[j] - bias[j] + l[j]) / n[j]
			}
			dg += d[j] * ((c-1)*(own[j]-bias[j]) + c*l[j])
			l[j] = gate * c * d[j] // from here on the gradient of s·B·A·x
		}
		if dGates != nil {
			dGates[i] = dg
		}
	}
	if grad != nil {
		_, db := k.split(grad, in, out)
		kernels.MulTN(g.Pool, db, w, bax, true)
	}
	kernels.MulNT(g.Pool, w, bax, b, false)
	for i := range w.Data {
		w.Data[i] *= k.Scale()
	}
	if grad != nil {
		da, _ := k.split(grad, in, out)
		kernels.MulTN(g.Pool, da, w, x.Columns(0, in).Slice(0, h.Rows), true)
	}
}

// BackwardInput implements adapters.Kind.
func (k DoRA) BackwardInput(g adapters.Group, row []float32, dx, dy kernels.Matrix) {
	in, out := dx.Cols-dy.Cols, dy.Cols
	m, n, _ := k.vectors(row, out)
	low, _ := k.parts(g, out)
	_, w := k.state(low)
	a, _ := k.split(row, in, out)
	kernels.MulNN(g.Pool, dx.Columns(0, in).Slice(0, g.Len()), w, a, true)
	for i, gate := range g.Gates {
		to, d := dx.Row(i)[in:], dy.Row(i)
		for j := range d {
			to[j] += gate * (m[j]/n[j] - 1) * d[j]
		}
	}
}

// Fit implements adapters.Weighted: it computes n, copies b, and for a new row makes m.
func (k DoRA) Fit(row []float32, d adapters.Dims, w adapters.Weight, fresh bool) {
	in, out := d.In-d.Out, d.Out
	a, b := k.split(row, in, out)
	m, n, bias := k.vectors(row, out)
	if w.Bias != nil {
		copy(bias, w.Bias)
	}
	wa, gram := w.Memory.Room(0, k.Rank, out), w.Memory.Room(1, k.Rank, k.Rank) // A·Wᵀ, A·Aᵀ
	w.Mul(wa.Data, a.Data, k.Rank)
	kernels.MulNT(nil, gram, a, a, false)
	s := k.Scale64()
	for o := range out {
		sum := w.Squares[o]
		for i := range k.Rank {
			bi := s * float64(b.Row(i)[o])
			sum += 2 * bi * float64(wa.Row(i)[o])
			for j, g := range gram.Row(i) {
				sum += bi * float64(g) * s * float64(b.Row(j)[o])
			}
		}
		n[o] = float32(math.Sqrt(max(sum, 1e-30)))
	}
	if fresh {
		copy(m, n)
	}
}

// Unpack returns A: [rank, in], a part of the row, B: [out, rank] and m: [out], a part of the row. Pack writes the first two.
func (k DoRA) Unpack(row []float32, d adapters.Dims) (a, b, m []float32) {
	a, b = k.Kind.Unpack(row, inner(d))
	m, _, _ = k.vectors(row, d.Out)
	return a, b, m
}

// Constant implements adapters.Weighted: n and b.
func (k DoRA) Constant(d adapters.Dims) (lo, hi int) { return k.Width(d) - 2*d.Out, k.Width(d) }
