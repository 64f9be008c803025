package kernels

const (
	geluC = 0.7978845608028654 // √(2/π)
	geluA = 0.044715
)

// geluPart is how many elements are worked on at a time.
const geluPart = 256

// GELUTanh writes the approximation of GELU by tanh, x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) (arXiv 1606.08415,
// section 2); y may be x.
func GELUTanh(y, x []float32) { geluMul(y, x[:len(y):len(x)], nil) }

// geluMul writes gelu(x)·m, or gelu(x) when m is nil. The bracket's half is σ(w), w = 2√(2/π)·x·(1 + 0.044715·x²), so that
// gelu(x) = silu(w)·x/w.
func geluMul(y, x, m []float32) {
	var buf [geluPart]float32
	for at := 0; at < len(y); at += geluPart {
		to := min(at+geluPart, len(y))
		x, y, s := x[at:to], y[at:to], buf[:to-at]
		for i, v := range x {
			s[i] = 2 * geluC * v * (1 + geluA*v*v)
		}
		SiLU(s, s)
		for i, v := range x {
			s[i] /= 2 * geluC * (1 + geluA*v*v)
		}
		if m == nil {
			copy(y, s)
		} else {
			Mul(y, s, m[at:to])
		}
	}
}

// GELUTanhBackward writes the gradient of GELUTanh; dx may be dy.
func GELUTanhBackward(dx, dy, x []float32) {
	n := len(dx)
	geluGrad(dx, dy[:n:len(dy)], x[:n:len(x)])
}

// geluGrad is GELUTanhBackward: with w as in geluMul, the derivative is r·silu'(w) + (1-r)·σ(w), r = x/w·dw/dx.
func geluGrad(dx, dy, x []float32) {
	var bufs, bufd [geluPart]float32
	for at := 0; at < len(dx); at += geluPart {
		to := min(at+geluPart, len(dx))
		x, s, d := x[at:to], bufs[:to-at], bufd[:to-at]
		for i, v := range x {
			s[i] = 2 * geluC * v * (1 + geluA*v*v)
		}
		SiLUBackward(d, dy[at:to], s)
		SiLU(s, s)
		for i, v := range x {
			q := 1 / (1 + geluA*v*v)
			dx[at+i] = d[i]*q*(1+3*geluA*v*v) - dy[at+i]*s[i]*geluA*v*q*q/geluC
		}
	}
}

// GELUTanhRows is GELUTanh of rows: x, y: [tokens, dim].
func GELUTanhRows(p *Pool, y, x []float32, tokens, dim int) {
	gelus.run(p, tokens, rowGrain, geluRows{y: y, gu: x, ffn: dim})
}

// GELUTanhRowsBackward writes dx: [tokens, dim]; it may be dy or x.
func GELUTanhRowsBackward(p *Pool, dx, dy, x []float32, tokens, dim int) {
	geluBackwards.run(p, tokens, rowGrain, geluRows{y: dy, gu: x, dgu: dx, ffn: dim})
}

// GeGLU writes y = gelu(gate)·up with the approximation by tanh (arXiv 2002.05202, section 2): gu: [tokens, 2·ffn], a row's
// gate and then its up; y: [tokens, ffn].
func GeGLU(p *Pool, y, gu []float32, tokens, ffn int) {
	geglus.run(p, tokens, rowGrain, geluRows{y: y, gu: gu, ffn: ffn})
}

// GeGLUBackward writes dgu: [tokens, 2·ffn] from dy: [tokens, ffn]; it may be gu.
func GeGLUBackward(p *Pool, dgu, dy, gu []float32, tokens, ffn int) {
	gegluBackwards.run(p, tokens, rowGrain, geluRows{y: dy, gu: gu, dgu: dgu, ffn: ffn})
}

// geluRows is one call's operands; y is dy in the backward.
type geluRows struct {
	y, gu, dgu []float32
	ffn        int
}

var (
	gelus, geluBackwards   = keep((*geluRows).gelu), keep((*geluRows).geluBackward)
	geglus, gegluBackwards = keep((*geluRows).geglu), keep((*geluRows).gegluBackward)
)

func (o *geluRows) gelu(lo, hi int) {
	geluMul(o.y[lo*o.ffn:hi*o.ffn], o.gu[lo*o.ffn:hi*o.ffn], nil)
}

func (o *geluRows) geluBackward(lo, hi int) {
	geluGrad(o.dgu[lo*o.ffn:hi*o.ffn], o.y[lo*o.ffn:hi*o.ffn], o.gu[lo*o.ffn:hi*o.ffn])
}

func (o *geluRows) geglu(lo, hi int) {
	for t := lo; t < hi; t++ {
		r := o.gu[2*t*o.ffn : 2*(t+1)*o.ffn]
		geluMul(o.y[t*o.ffn:(t+1)*o.ffn], r[:o.ffn], r[o.ffn:])
	}
}

func (o *geluRows) gegluBackward(lo, hi int) {
	buf := getF32(2 * o.ffn)
	defer putF32(buf)
	x := arena[float32](*buf)
	dup, dgelu := x.cut(o.ffn), x.cut(o.ffn)
	for t := lo; t < hi; t++ {
		r, d, dy := o.gu[2*t*o.ffn:2*(t+1)*o.ffn], o.dgu[2*t*o.ffn:2*(t+1)*o.ffn], o.y[t*o.ffn:(t+1)*o.ffn]
		geluMul(dup, r[:o.ffn], dy)
		Mul(dgelu, dy, r[o.ffn:])
		geluGrad(d[:o.ffn], dgelu, r[:o.ffn])
		copy(d[o.ffn:], dup)
	}
}
