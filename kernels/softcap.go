package kernels

// SoftCap replaces every element of rows of cols by limit·tanh(x/limit) (arXiv 2408.00118, section 2): x: [rows, cols],
// limit above 0.
func SoftCap(p *Pool, x []float32, rows, cols int, limit float32) {
	softCaps.run(p, rows, 1, softCapRows{x, cols, limit})
}

// softCapRows is one call's operands.
type softCapRows struct {
	x     []float32
	cols  int
	limit float32
}

var softCaps = keep(func(o *softCapRows, lo, hi int) {
	for r := lo; r < hi; r++ {
		softCap(o.x[r*o.cols:(r+1)*o.cols], o.limit)
	}
})

// softCap is SoftCap of a vector.
func softCap(x []float32, limit float32) {
	tanhs(x, limit)
	Scale(limit, x)
}

// tanhs replaces x by tanh(x/limit) = (1-e)/(1+e), e = exp(-2x/limit).
func tanhs(x []float32, limit float32) {
	Scale(-2/limit, x)
	Exp(x, x)
	for i, e := range x {
		e = min(e, 1e30) // where it is infinite, the quotient is -1 all the same
		x[i] = (1 - e) / (1 + e)
	}
}

// softCapGrad multiplies gradients d of capped values y = limit·tanh(x/limit) by the cap's own, 1 - tanh².
func softCapGrad(d, y []float32, limit float32) {
	for i, v := range y {
		t := v / limit
		d[i] *= 1 - t*t
	}
}

// softCapScores caps scores in attention's backward, and changes d = do·vᵀ so that the gradient of the softmax, which has
// the factor d - delta, comes out as that of the scores before the cap.
func softCapScores(s, d []float32, limit, delta float32) {
	tanhs(s, limit)
	for i, t := range s {
		d[i] = delta + (d[i]-delta)*(1-t*t)
	}
	Scale(limit, s)
}
