package kernels

import (
	"fmt"
	"sync"
)

// blockK is how many k of a panel are multiplied before the next panel, so that a panel's part stays in cache.
const blockK = 2048

// MulPacked writes y = x·w, or adds it when accumulate: y: [m, N], x: [m, K]. A row of y depends on its row of x alone,
// to the bit, not on m.
func MulPacked(p *Pool, y, x []float32, m int, w *Packed, accumulate bool) {
	MulPackedStride(p, y, w.N, x, w.K, m, w, accumulate)
}

// MulPackedStride is MulPacked with rows of y ldy and rows of x ldx elements apart.
func MulPackedStride(p *Pool, y []float32, ldy int, x []float32, ldx, m int, w *Packed, accumulate bool) {
	if m == 0 || w.N == 0 {
		return
	}
	if len(y) < (m-1)*ldy+w.N || len(x) < (m-1)*ldx+w.K || ldy < w.N || ldx < w.K {
		panic(fmt.Sprintf("kernels: product [%d, %d]·[%d, %d]ᵀ with %d, %d elements and strides %d, %d", m, w.K, w.N, w.K, len(y), len(x), ldy, ldx))
	}
	g := product{y: y, ldy: ldy, x: x, ldx: ldx, w: w, acc: accumulate}
	if w.prec == BF16 {
		k2 := (w.K + 1) / 2 * 2
		buf := getU16(m * k2)
		defer putU16(buf)
		g.h, g.ldh = *buf, k2
		p.Run(m, max(8, m/(4*p.Threads())), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				row := g.h[i*k2 : (i+1)*k2]
				row[k2-1] = 0
				toBF16(row[:w.K], x[i*ldx:i*ldx+w.K])
			}
		})
	}
	panels, t := w.panels(), p.Threads()
	switch {
	case t == 1:
		g.run(0, panels, 0, m)
	case panels >= 4*t || m <= 8:
		p.Run(panels, max(1, panels/(t*4)), func(lo, hi int) { g.run(lo, hi, 0, m) })
	default:
		p.Run(m, max(8, (m/(t*4)+7)/8*8), func(lo, hi int) { g.run(0, panels, lo, hi) })
	}
}

// product is one call's operands.
type product struct {
	y, x     []float32
	ldy, ldx int
	h        []uint16 // x in bf16
	ldh      int
	w        *Packed
	acc      bool
}

// run computes the rows [r0, r1) of the panels [p0, p1).
func (g *product) run(p0, p1, r0, r1 int) {
	k := g.w.K
	if k == 0 && !g.acc {
		for r := r0; r < r1; r++ {
			clear(g.y[r*g.ldy+p0*panel : r*g.ldy+min(p1*panel, g.w.N)])
		}
		return
	}
	for k0 := 0; k0 < k; k0 += blockK {
		kn := min(blockK, k-k0)
		for i := p0; i < p1; i++ {
			cols := min(panel, g.w.N-i*panel)
			for r := r0; r < r1; {
				n := rowsOf(r1 - r)
				g.tile(i, cols, k0, kn, r, n, g.acc || k0 > 0)
				r += n
			}
		}
	}
}

// rowsOf returns the rows of the largest tile that fits.
func rowsOf(left int) int {
	switch {
	case left >= 8:
		return 8
	case left >= 4:
		return 4
	case left >= 2:
		return 2
	}
	return 1
}

// tile computes n rows of one panel.
func (g *product) tile(i, cols, k0, kn, r, n int, acc bool) {
	c, ldc := g.y[r*g.ldy+i*panel:], g.ldy
	var edge [8 * panel]float32
	if cols < panel {
		c, ldc = edge[:], panel
	}
	accTile := acc && cols == panel
	if g.w.prec == BF16 {
		k2 := (g.w.K + 1) / 2
		b := g.w.h[(i*k2+k0/2)*panel*2:]
		microBF16(n, (kn+1)/2, g.h[r*g.ldh+k0:], g.ldh, b, c, ldc, accTile)
	} else {
		micro(n, kn, g.x[r*g.ldx+k0:], g.ldx, g.w.f[(i*g.w.K+k0)*panel:], c, ldc, accTile)
	}
	if cols == panel {
		return
	}
	for q := range n {
		d := g.y[(r+q)*g.ldy+i*panel:][:cols]
		s := edge[q*panel:][:cols]
		if acc {
			for j, v := range s {
				d[j] += v
			}
		} else {
			copy(d, s)
		}
	}
}

// microGeneric is the reference of the micro-kernel: n rows of a times k rows of a panel.
func microGeneric(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	var t [panel]float32
	for r := range n {
		clear(t[:])
		for i, x := range a[r*lda : r*lda+k] {
			row := b[i*panel : (i+1)*panel]
			for j, v := range row {
				t[j] += x * v
			}
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}

func storeGeneric(c []float32, t *[panel]float32, acc bool) {
	c = c[:panel]
	for j, v := range t {
		if acc {
			v += c[j]
		}
		c[j] = v
	}
}

func microBF16Generic(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	var t [panel]float32
	for r := range n {
		clear(t[:])
		for i := range pairs {
			x, y := bf16(a[r*lda+2*i]), bf16(a[r*lda+2*i+1])
			row := b[i*panel*2 : (i+1)*panel*2]
			for j := range t {
				t[j] += x*bf16(row[2*j]) + y*bf16(row[2*j+1])
			}
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}

// MatMulNT writes c = a·bᵀ, or adds it: c: [m, n], a: [m, k], b: [n, k]. Its gradients are da = MatMulNN(dc, b) and
// db = MatMulTN(dc, a).
func MatMulNT(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	matMul(p, c, a, b, m, n, k, false, accumulate)
}

// MatMulNN writes c = a·b, or adds it: c: [m, n], a: [m, k], b: [k, n].
func MatMulNN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	matMul(p, c, a, b, m, n, k, true, accumulate)
}

// MatMulTN writes c = aᵀ·b, or adds it: c: [m, n], a: [k, m], b: [k, n]: a weight's gradient is MatMulTN(dY, X).
func MatMulTN(p *Pool, c, a, b []float32, m, n, k int, accumulate bool) {
	buf := getF32(m * k)
	defer putF32(buf)
	t := *buf
	p.Run(m, 32, func(lo, hi int) {
		for k0 := 0; k0 < k; k0 += 16 {
			for i := lo; i < hi; i++ {
				for kk := k0; kk < min(k0+16, k); kk++ {
					t[i*k+kk] = a[kk*m+i]
				}
			}
		}
	})
	matMul(p, c, t, b, m, n, k, true, accumulate)
}

func matMul(p *Pool, c, a, b []float32, m, n, k int, nn, accumulate bool) {
	w := Packed{N: n, K: k}
	buf := getF32(w.panels() * k * panel)
	defer putF32(buf)
	w.f = *buf
	if r := n % panel; r != 0 { // what fills the last panel up
		clear(w.f[(w.panels()-1)*k*panel:])
	}
	w.Repack(p, b[:n*k], nn)
	MulPacked(p, c, a, m, &w, accumulate)
}

var (
	f32Scratch = sync.Pool{New: func() any { return new([]float32) }}
	u16Scratch = sync.Pool{New: func() any { return new([]uint16) }}
)

// getF32 returns scratch of n elements with any content; putF32 gives it back.
func getF32(n int) *[]float32 {
	b := f32Scratch.Get().(*[]float32)
	if cap(*b) < n {
		*b = make([]float32, n)
	}
	*b = (*b)[:n]
	return b
}

func putF32(b *[]float32) { f32Scratch.Put(b) }

func getU16(n int) *[]uint16 {
	b := u16Scratch.Get().(*[]uint16)
	if cap(*b) < n {
		*b = make([]uint16, n)
	}
	*b = (*b)[:n]
	return b
}

func putU16(b *[]uint16) { u16Scratch.Put(b) }
