package kernels

import "math"

// LayerNorm writes y = (x - mean)/std · w + b a row (arXiv 1607.06450): x, y: [tokens, dim], w, b: [dim]. rstd: [tokens]
// keeps the row's 1/std for the backward and may be nil. y may be x.
func LayerNorm(p *Pool, y, x, w, b []float32, tokens, dim int, eps float32, rstd []float32) {
	layerNorms.run(p, tokens, rowGrain, layerNorm{y: y, x: x, w: w, b: b, rstd: rstd, dim: dim, eps: eps})
}

// LayerNormBackward writes dx, or adds to it when accumulate, from dy: [tokens, dim]; x, w and rstd are the forward's. dw
// and db: [dim], unless nil, get the gradients added.
func LayerNormBackward(p *Pool, dx, dy, x, w, rstd []float32, tokens, dim int, accumulate bool, dw, db []float32) {
	o := layerNorm{y: dx, dy: dy, x: x, w: w, rstd: rstd, dw: dw, db: db, dim: dim, tokens: tokens, accumulate: accumulate}
	layerNormBackwards.run(p, tokens, rowGrain, o)
	if dw != nil || db != nil {
		layerNormWeights.run(p, dim, columnGrain(p, dim), o)
	}
}

// layerNorm is one call's operands; y is dx in the backward.
type layerNorm struct {
	y, dy, x, w, b, rstd, dw, db []float32
	tokens, dim                  int
	eps                          float32
	accumulate                   bool
}

var (
	layerNorms         = keep((*layerNorm).forward)
	layerNormBackwards = keep((*layerNorm).backward)
	layerNormWeights   = keep((*layerNorm).weight)
)

func (o *layerNorm) row(x []float32, t int) []float32 { return x[t*o.dim : (t+1)*o.dim] }

// mean returns the mean of a row of x.
func (o *layerNorm) mean(t int) float64 {
	var s float64
	for _, v := range o.row(o.x, t) {
		s += float64(v)
	}
	return s / float64(o.dim)
}

func (o *layerNorm) forward(lo, hi int) {
	for t := lo; t < hi; t++ {
		x, y, mu := o.row(o.x, t), o.row(o.y, t), o.mean(t)
		var ss float64
		for _, v := range x {
			d := float64(v) - mu
			ss += d * d
		}
		r := float32(1 / math.Sqrt(ss/float64(o.dim)+float64(o.eps)))
		if o.rstd != nil {
			o.rstd[t] = r
		}
		for i, v := range x {
			y[i] = (v-float32(mu))*r*o.w[i] + o.b[i]
		}
	}
}

func (o *layerNorm) backward(lo, hi int) {
	for t := lo; t < hi; t++ {
		x, dy, dx := o.row(o.x, t), o.row(o.dy, t), o.row(o.y, t)
		mu, r := float32(o.mean(t)), o.rstd[t]
		var sg, sgx float64
		for i, v := range x {
			g := dy[i] * o.w[i]
			sg += float64(g)
			sgx += float64(g * (v - mu) * r)
		}
		mg, mgx := float32(sg/float64(o.dim)), float32(sgx/float64(o.dim))
		for i, v := range x {
			g := r * (dy[i]*o.w[i] - mg - (v-mu)*r*mgx)
			if o.accumulate {
				g += dx[i]
			}
			dx[i] = g
		}
	}
}

// weight adds to the columns [lo, hi) of dw and db.
func (o *layerNorm) weight(lo, hi int) {
	for t := range o.tokens {
		g := o.row(o.dy, t)[lo:hi]
		if o.dw != nil {
			dw, mu, r := o.dw[lo:hi], float32(o.mean(t)), o.rstd[t]
			for i, v := range o.row(o.x, t)[lo:hi] {
				dw[i] += g[i] * (v - mu) * r
			}
		}
		if o.db != nil {
			Add(o.db[lo:hi], o.db[lo:hi], g)
		}
	}
}
