package kernels

import "fmt"

// MatMulNT writes c = a·bᵀ, or adds it: c: [m, n], a: [m, k], b: [n, k]. Its gradients are da = MatMulNN(dc, b) and
// db = MatMulTN(dc, a).
func MatMulNT(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	matMul(p, c, a, b, m, n, k, false, false, accumulate)
}

// MatMulNN writes c = a·b, or adds it: c: [m, n], a: [m, k], b: [k, n]. Its gradients are da = MatMulNT(dc, b) and
// db = MatMulTN(a, dc).
func MatMulNN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	matMul(p, c, a, b, m, n, k, false, true, accumulate)
}

// MatMulTN writes c = aᵀ·b, or adds it: c: [m, n], a: [k, m], b: [k, n]: a weight's gradient is MatMulTN(dY, X).
func MatMulTN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	matMul(p, c, a, b, m, n, k, true, true, accumulate)
}

// matMul packs b, and a when it is transposed, into scratch.
func matMul(p *Pool, c, a, b []float32, m, n, k int, transposed, nn, accumulate bool) {
	if len(c) < m*n || len(a) < m*k || len(b) < n*k {
		panic(fmt.Sprintf("kernels: product of %d×%d and %d×%d values in slices of %d and %d into %d", m, k, k, n, len(a), len(b), len(c)))
	}
	if m == 0 || n == 0 {
		return
	}
	g := products.Get().(*product)
	g.y, g.ldy, g.x, g.ldx, g.m, g.acc = c, n, a, k, m, accumulate
	g.w = Packed{N: n, K: k}
	buf := getF32(g.w.panels() * k * panel)
	g.w.f = *buf
	if n%panel != 0 { // what fills the last panel up
		clear(g.w.f[(g.w.panels()-1)*k*panel:])
	}
	g.w.Repack(p, b[:n*k], nn)
	if transposed {
		g.ldx = m
		g.scratchF = getF32((m + 7) / 8 * k * 8)
		g.t = *g.scratchF
		p.Run((m+7)/8, 8, g.packColumns)
	}
	g.multiply(p)
	putF32(buf)
	g.release()
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
