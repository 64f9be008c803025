package kernels

import "math"

// rowGrain is how many rows of elementwise work one thread takes at a time.
const rowGrain = 16

// RMSNorm writes y = x / rms(x) · w a row, rms = √(mean x² + eps) (arXiv 1910.07467, eq. 4): x, y: [tokens, dim],
// w: [dim]. rstd: [tokens] keeps 1/rms for the backward and may be nil. y may be x.
func RMSNorm(p *Pool, y, x, w []float32, tokens, dim int, eps float32, rstd []float32) {
	rmsNorms.run(p, tokens, rowGrain, rmsNorm{y: y, x: x, w: w, rstd: rstd, dim: dim, eps: eps})
}

// RMSNormAdd writes y = x + RMSNorm(z), with RMSNorm's operands: x, y, z: [tokens, dim]. y may be x.
func RMSNormAdd(p *Pool, y, x, z, w []float32, tokens, dim int, eps float32, rstd []float32) {
	rmsNormAdds.run(p, tokens, rowGrain, rmsNorm{y: y, dy: x, x: z, w: w, rstd: rstd, dim: dim, eps: eps})
}

// RMSNormBackward writes dx, or adds to it when accumulate, from dy: [tokens, dim]; x, w and rstd are the forward's.
// dw: [dim], unless nil, gets the weight's gradient added.
func RMSNormBackward(p *Pool, dx, dy, x, w, rstd []float32, tokens, dim int, accumulate bool, dw []float32) {
	o := rmsNorm{y: dx, dy: dy, x: x, w: w, rstd: rstd, dim: dim, tokens: tokens, accumulate: accumulate, dw: dw}
	rmsNormBackwards.run(p, tokens, rowGrain, o)
	if dw != nil {
		rmsNormWeights.run(p, dim, columnGrain(p, dim), o)
	}
}

// rmsNorm is one call's operands; y is dx in the backward, dy what RMSNormAdd adds to.
type rmsNorm struct {
	y, dy, x, w, rstd, dw []float32
	tokens, dim           int
	eps                   float32
	accumulate            bool
}

var (
	rmsNorms         = keep((*rmsNorm).forward)
	rmsNormAdds      = keep((*rmsNorm).add)
	rmsNormBackwards = keep((*rmsNorm).backward)
	rmsNormWeights   = keep((*rmsNorm).weight)
)

func (o *rmsNorm) forward(lo, hi int) {
	dim := o.dim
	for t := lo; t < hi; t++ {
		x := o.x[t*dim : (t+1)*dim]
		r := float32(1 / math.Sqrt(float64(Dot(x, x))/float64(dim)+float64(o.eps)))
		if o.rstd != nil {
			o.rstd[t] = r
		}
		mulScale(o.y[t*dim:(t+1)*dim], x, o.w[:dim], r)
	}
}

func (o *rmsNorm) add(lo, hi int) {
	dim := o.dim
	buf := getF32(dim)
	defer putF32(buf)
	for t := lo; t < hi; t++ {
		one := rmsNorm{y: *buf, x: o.x[t*dim : (t+1)*dim], w: o.w, dim: dim, eps: o.eps}
		if o.rstd != nil {
			one.rstd = o.rstd[t : t+1]
		}
		one.forward(0, 1)
		Add(o.y[t*dim:(t+1)*dim], o.dy[t*dim:(t+1)*dim], *buf)
	}
}

func (o *rmsNorm) backward(lo, hi int) {
	dim := o.dim
	buf := getF32(dim)
	defer putF32(buf)
	g := *buf
	for t := lo; t < hi; t++ {
		x, d := o.x[t*dim:(t+1)*dim], o.y[t*dim:(t+1)*dim]
		Mul(g, o.dy[t*dim:(t+1)*dim], o.w[:dim])
		r := o.rstd[t]
		c := -r * r * r * Dot(g, x) / float32(dim)
		if !o.accumulate {
			clear(d)
		}
		Axpy(r, g, d)
		Axpy(c, x, d)
	}
}

// weight adds to the columns [lo, hi) of dw.
func (o *rmsNorm) weight(lo, hi int) {
	dim := o.dim
	buf := getF32(hi - lo)
	defer putF32(buf)
	for t := range o.tokens {
		MulScale(*buf, o.dy[t*dim+lo:t*dim+hi], o.x[t*dim+lo:t*dim+hi], o.rstd[t])
		Add(o.dw[lo:hi], o.dw[lo:hi], *buf)
	}
}

// columnGrain splits sums over rows by columns, so that the order of additions is fixed.
func columnGrain(p *Pool, dim int) int {
	t := p.Threads()
	return max(64, ((dim+t-1)/t+15)&^15)
}
