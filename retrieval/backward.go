package retrieval

import (
	"fmt"

	"github.com/gopeft/peft/kernels"
)

// Grad is the gradient of a layer's router, for one that is trained with its experts as the paper does (arXiv
// 2407.04153); shapes as in Layer.
type Grad struct {
	W, B       []float32
	Keys, Bias [2][]float32
	dq         []float32
}

// NewGrad returns zeros in l's shapes.
func (l *Layer) NewGrad() *Grad {
	z := func(v []float32) []float32 { return make([]float32, len(v)) }
	return &Grad{W: z(l.W), B: z(l.B), Keys: [2][]float32{z(l.Keys[0]), z(l.Keys[1])}, Bias: [2][]float32{z(l.Bias[0]), z(l.Bias[1])}}
}

// RouteBackward adds to g and to dx: [tokens, hidden] the gradients that reach the router through the gates: dGates:
// [tokens, heads, k]. r is what Route left, with r.Train set. Which cells are selected has no gradient.
func (l *Layer) RouteBackward(p *kernels.Pool, g *Grad, dx []float32, r *Routing, dGates []float32) {
	tokens, n, d, k := r.Tokens, l.SubKeys, l.HalfDim, l.TopK
	qcols := l.Heads * 2 * d
	if !r.Train || len(r.Queries) != tokens*qcols {
		panic(fmt.Sprintf("retrieval: backward of %d tokens without their queries: Route must run with Train set", tokens))
	}
	g.dq = resize(g.dq, tokens*qcols)
	clear(g.dq)
	p.Run(l.Heads, 1, func(lo, hi int) {
		for h := lo; h < hi; h++ {
			for t := range tokens {
				at := (t*l.Heads + h) * k
				gates, dg := r.Gates[at:at+k], dGates[at:at+k]
				mean := kernels.Dot(gates, dg)
				for i, cell := range r.Cells[at : at+k] {
					ds := gates[i] * (dg[i] - mean) / l.Temp[h]
					if r.Sigmoid {
						ds = gates[i] * (1 - gates[i]) * dg[i] / l.Temp[h]
					}
					for half, key := range [2]int{int(cell) / n, int(cell) % n} {
						q, row := t*qcols+(h*2+half)*d, (h*n+key)*d
						kernels.Axpy(ds, l.Keys[half][row:row+d], g.dq[q:q+d])
						kernels.Axpy(ds, r.Queries[q:q+d], g.Keys[half][row:row+d])
						g.Bias[half][h*n+key] += ds
					}
				}
			}
		}
	})
	for t := range tokens {
		kernels.Add(g.B, g.B, g.dq[t*qcols:(t+1)*qcols])
	}
	if r.Norm != nil {
		r.Norm.backward(p, g.dq, r.Queries, l.B, tokens)
	}
	kernels.MatMulTN(p, g.W, g.dq, r.XHat, qcols, l.Hidden, tokens, true)
	if l.InvStd == nil {
		kernels.MatMulNN(p, dx, g.dq, l.W, tokens, l.Hidden, qcols, true)
		return
	}
	dxh := make([]float32, tokens*l.Hidden)
	kernels.MatMulNN(p, dxh, g.dq, l.W, tokens, l.Hidden, qcols, false)
	for t := range tokens {
		row := dx[t*l.Hidden : (t+1)*l.Hidden]
		AddStandardised(row, dxh[t*l.Hidden:(t+1)*l.Hidden], l.InvStd)
	}
}

// AddStandardised adds to dx the gradient dxh with respect to x̂ = (x - mean)·inv, carried to x.
func AddStandardised(dx, dxh, inv []float32) {
	dxh, inv = dxh[:len(dx)], inv[:len(dx)]
	for i := range dx {
		dx[i] += dxh[i] * inv[i]
	}
}
