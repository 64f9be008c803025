package pretrain

import "github.com/gopeft/peft/kernels"

// mixture is a mixture of SwiGLU experts of which each token chooses the best few by a linear score, and weighs them by a
// softmax over the chosen ones (arXiv 2401.04088, section 2.1). No expert has a limit to its load; the loss of arXiv
// 2101.03961 (section 2.2) keeps the loads alike: weight · experts · Σ share of the choices · mean probability.
type mixture struct {
	*layerWeights
	m     *model
	block int

	gateUp, down [][2]*kernels.Packed // of each expert

	scores, probs []float32 // [rows, experts], and their softmax
	gates, dGates []float32 // [rows, active]
	chosen        []int32   // [rows, active]
	at            []int32   // [rows, active] where a choice stands among those below
	from          []int     // [experts + 1] where each expert's choices begin

	x, dx, out, dout []float32 // [choices, hidden]
	gu, dgu          []float32 // [choices, 2·width]
	act, dact        []float32 // [choices, width]
}

func (m *model) newMixture(block int) *mixture {
	n := m.Instead.Experts
	return &mixture{layerWeights: &m.w.layers[block], m: m, block: block, gateUp: make([][2]*kernels.Packed, n), down: make([][2]*kernels.Packed, n), from: make([]int, n+1)}
}

// expert returns the parts of one expert in gateUp and down.
func (l *layerWeights) expert(e, hidden, width int) (gateUp, down []float32) {
	n := hidden * width
	return l.gateUp[e*2*n : (e+1)*2*n], l.down[e*n : (e+1)*n]
}

func (x *mixture) pack(prec kernels.Precision) {
	h, w := x.m.Hidden, x.m.Instead.Width
	for e := range x.down {
		gateUp, down := x.expert(e, h, w)
		x.m.both(&x.gateUp[e], gateUp, 2*w, h, prec)
		x.m.both(&x.down[e], down, h, w, prec)
	}
}

func (x *mixture) reserve(rows int) {
	f, h := &x.m.Instead, x.m.Hidden
	n := rows * f.Active
	v := func(n int) []float32 { return make([]float32, n) }
	x.scores, x.probs, x.gates = v(rows*f.Experts), v(rows*f.Experts), v(n)
	x.chosen, x.at = make([]int32, n), make([]int32, n)
	x.x, x.out, x.gu, x.act = v(n*h), v(n*h), v(n*2*f.Width), v(n*f.Width)
	if x.m.g != nil {
		x.dGates, x.dx, x.dout, x.dgu, x.dact = v(n), v(n*h), v(n*h), v(n*2*f.Width), v(n*f.Width)
	}
}

// choose selects each row's experts, and sorts the choices by expert, then row.
func (x *mixture) choose(in []float32, rows int) {
	f, h := &x.m.Instead, x.m.Hidden
	n, k := f.Experts, f.Active
	kernels.MatMulNT(x.m.pool, x.scores, in, x.choice, rows, n, h, false)
	kernels.Softmax(x.m.pool, x.probs, x.scores, rows, n)
	clear(x.from)
	for r := range rows {
		kernels.TopK(x.gates[r*k:(r+1)*k], x.chosen[r*k:(r+1)*k], x.scores[r*n:(r+1)*n])
		for _, e := range x.chosen[r*k : (r+1)*k] {
			x.from[e+1]++
		}
	}
	kernels.Softmax(x.m.pool, x.gates, x.gates, rows, k)
	for e := range n {
		x.from[e+1] += x.from[e]
	}
	next := append([]int(nil), x.from[:n]...)
	for i, e := range x.chosen {
		x.at[i] = int32(next[e])
		next[e]++
	}
	if u := x.m.usage; u != nil {
		for i, e := range x.chosen {
			u[x.block].add(int(e), x.gates[i])
		}
	}
}

// of returns what belongs to expert e of rows of that width.
func (x *mixture) of(e int, v []float32, width int) []float32 {
	return v[x.from[e]*width : x.from[e+1]*width]
}

func (x *mixture) forward(y, in []float32, rows int) error {
	p, h, w, k := x.m.pool, x.m.Hidden, x.m.Instead.Width, x.m.Instead.Active
	x.choose(in, rows)
	for i, at := range x.at {
		copy(x.x[int(at)*h:(int(at)+1)*h], in[i/k*h:])
	}
	for e := range x.down {
		n := x.from[e+1] - x.from[e]
		if n == 0 {
			continue
		}
		gu, act := x.of(e, x.gu, 2*w), x.of(e, x.act, w)
		kernels.MulPacked(p, gu, x.of(e, x.x, h), n, x.gateUp[e][0], false)
		kernels.SwiGLU(p, act, gu, n, w)
		kernels.MulPacked(p, x.of(e, x.out, h), act, n, x.down[e][0], false)
	}
	for i, at := range x.at {
		r := i / k
		kernels.Axpy(x.gates[i], x.out[int(at)*h:(int(at)+1)*h], y[r*h:(r+1)*h])
	}
	return nil
}

func (x *mixture) backward(dx, dy, in []float32, rows int) error {
	p, g, h, w, k := x.m.pool, &x.m.g.layers[x.block], x.m.Hidden, x.m.Instead.Width, x.m.Instead.Active
	for i, at := range x.at {
		d, out := dy[i/k*h:(i/k+1)*h], x.dout[int(at)*h:(int(at)+1)*h]
		x.dGates[i] = kernels.Dot(d, x.out[int(at)*h:(int(at)+1)*h])
		copy(out, d)
		kernels.Scale(x.gates[i], out)
	}
	for e := range x.down {
		n := x.from[e+1] - x.from[e]
		if n == 0 {
			continue
		}
		gGateUp, gDown := g.expert(e, h, w)
		dout, dact, dgu := x.of(e, x.dout, h), x.of(e, x.dact, w), x.of(e, x.dgu, 2*w)
		kernels.MulPacked(p, dact, dout, n, x.down[e][1], false)
		kernels.MatMulTN(p, gDown, dout, x.of(e, x.act, w), h, w, n, true)
		kernels.SwiGLUBackward(p, dgu, dact, x.of(e, x.gu, 2*w), n, w)
		kernels.MulPacked(p, x.of(e, x.dx, h), dgu, n, x.gateUp[e][1], false)
		kernels.MatMulTN(p, gGateUp, dgu, x.of(e, x.x, h), 2*w, h, n, true)
	}
	clear(dx[:rows*h])
	for i, at := range x.at {
		r := i / k
		kernels.Axpy(1, x.dx[int(at)*h:(int(at)+1)*h], dx[r*h:(r+1)*h])
	}
	x.backwardChoice(dx, in, g.choice, rows)
	return nil
}

// backwardChoice adds the gradients that go through the gates, and that of the balance.
func (x *mixture) backwardChoice(dx, in, dChoice []float32, rows int) {
	f, h := &x.m.Instead, x.m.Hidden
	n, k := f.Experts, f.Active
	perProb := make([]float32, n) // gradient of the balance with respect to a row's probability of each expert
	for e := range perProb {
		share := float32(x.from[e+1]-x.from[e]) / float32(rows*k)
		perProb[e] = f.Balance * float32(n) * share / float32(rows)
	}
	for r := range rows {
		probs, d := x.probs[r*n:(r+1)*n], x.scores[r*n:(r+1)*n] // whose values nothing needs any more
		mean := kernels.Dot(probs, perProb)
		for e, q := range probs {
			d[e] = q * (perProb[e] - mean)
		}
		gates, dg := x.gates[r*k:(r+1)*k], x.dGates[r*k:(r+1)*k]
		mean = kernels.Dot(gates, dg)
		for i, e := range x.chosen[r*k : (r+1)*k] {
			d[e] += gates[i] * (dg[i] - mean)
		}
	}
	kernels.MatMulTN(x.m.pool, dChoice, x.scores, in, n, h, rows, true)
	kernels.MatMulNN(x.m.pool, dx, x.scores, x.choice, rows, h, n, true)
}

// balance returns the loss that keeps the loads of the last forward alike.
func (x *mixture) balance() float64 {
	n, rows := x.m.Instead.Experts, len(x.probs)/x.m.Instead.Experts
	var sum float64
	for e := range n {
		var prob float64
		for r := range rows {
			prob += float64(x.probs[r*n+e])
		}
		sum += prob / float64(rows) * float64(x.from[e+1]-x.from[e]) / float64(len(x.chosen))
	}
	return float64(x.m.Instead.Balance) * float64(n) * sum
}
