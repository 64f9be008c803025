package kernels

import "math"

// SiLU writes x·σ(x) (arXiv 1702.03118); y may be x.
func SiLU(y, x []float32) { silu(y, x[:len(y):len(x)]) }

// SiLUBackward writes dx = dy·σ(x)·(1 + x·(1-σ(x))); dx may be dy.
func SiLUBackward(dx, dy, x []float32) { siluBackward(dx, dy[:len(dx):len(dy)], x[:len(dx):len(x)]) }

// GELU writes x·Φ(x), Φ the normal distribution function (arXiv 1606.08415, section 2); y may be x.
func GELU(y, x []float32) {
	for i, v := range x {
		y[i] = float32(float64(v) * phi(float64(v)))
	}
}

func phi(x float64) float64 { return 0.5 * (1 + math.Erf(x/math.Sqrt2)) }

// GELUBackward writes dx = dy·(Φ(x) + x·φ(x)); dx may be dy.
func GELUBackward(dx, dy, x []float32) {
	for i, v := range x {
		f := float64(v)
		dx[i] = float32(float64(dy[i]) * (phi(f) + f*math.Exp(-f*f/2)/math.Sqrt(2*math.Pi)))
	}
}

// SwiGLU writes y = silu(gate)·up (arXiv 2002.05202, section 2): gu: [tokens, 2·ffn], a row's gate and then its up;
// y: [tokens, ffn].
func SwiGLU(p *Pool, y, gu []float32, tokens, ffn int) {
	swiglus.run(p, tokens, rowGrain, swigluRows{y: y, gu: gu, ffn: ffn})
}

// SwiGLUBackward writes dgu: [tokens, 2·ffn] from dy: [tokens, ffn].
func SwiGLUBackward(p *Pool, dgu, dy, gu []float32, tokens, ffn int) {
	swigluBackwards.run(p, tokens, rowGrain, swigluRows{y: dy, gu: gu, dgu: dgu, ffn: ffn})
}

// swigluRows is one call's operands; y is dy in the backward.
type swigluRows struct {
	y, gu, dgu []float32
	ffn        int
}

var swiglus, swigluBackwards = keep((*swigluRows).forward), keep((*swigluRows).backward)

func (o *swigluRows) forward(lo, hi int) {
	for t := lo; t < hi; t++ {
		r := o.gu[2*t*o.ffn : 2*(t+1)*o.ffn]
		swiglu(o.y[t*o.ffn:(t+1)*o.ffn], r[:o.ffn], r[o.ffn:])
	}
}

func (o *swigluRows) backward(lo, hi int) {
	for t := lo; t < hi; t++ {
		r, d := o.gu[2*t*o.ffn:2*(t+1)*o.ffn], o.dgu[2*t*o.ffn:2*(t+1)*o.ffn]
		swigluBackward(d[:o.ffn], d[o.ffn:], o.y[t*o.ffn:(t+1)*o.ffn], r[:o.ffn], r[o.ffn:])
	}
}
