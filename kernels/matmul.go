package kernels

// MatMulNT writes c = a·bᵀ, or adds it: c: [m, n], a: [m, k], b: [n, k]. Its gradients are da = MatMulNN(dc, b) and
// db = MatMulTN(dc, a).
func MatMulNT(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	mulMatrix(p, Dense(c, m, n), shaped("a", a, m, k), shaped("b", b, n, k), k, 1, false, accumulate)
}

// MatMulNN writes c = a·b, or adds it: c: [m, n], a: [m, k], b: [k, n]. Its gradients are da = MatMulNT(dc, b) and
// db = MatMulTN(a, dc).
func MatMulNN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	mulMatrix(p, Dense(c, m, n), shaped("a", a, m, k), shaped("b", b, k, n), 1, n, false, accumulate)
}

// MatMulTN writes c = aᵀ·b, or adds it: c: [m, n], a: [k, m], b: [k, n]: a weight's gradient is MatMulTN(dY, X).
func MatMulTN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	MulTN(p, Dense(c, m, n), Dense(a, k, m), Dense(b, k, n), accumulate)
}

// shaped returns a matrix that has all its values.
func shaped(what string, data []float32, rows, cols int) Matrix {
	m := Dense(data, rows, cols)
	m.check(what, rows, cols)
	return m
}

// packPart packs the tiles [lo, hi) of 8 columns of x: [K, m]; the last tile is filled up with zeros.
func (g *product) packPart(lo, hi int) {
	k := g.w.K
	if hi*8 > g.m {
		hi--
		last := g.t[hi*k*8 : (hi+1)*k*8]
		clear(last)
		for kk := range k {
			copy(last[kk*8:], g.x[kk*g.ldx+hi*8:kk*g.ldx+g.m])
		}
	}
	for kk := range k {
		src := g.x[kk*g.ldx+lo*8:]
		for i := range hi - lo {
			*(*[8]float32)(g.t[((lo+i)*k+kk)*8:]) = [8]float32(src[i*8:])
		}
	}
}
