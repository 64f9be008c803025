package kernels

import (
	"fmt"
	"sync"
)

const (
	// blockK is how many k of a panel are multiplied before the next panel, so that its part stays in the second cache.
	blockK = 2048
	// blockRows is how many elements of the rows are multiplied with all panels before the next rows, likewise.
	blockRows = 128 << 10
	// fewWork is how many multiplications take less time than waking a thread.
	fewWork = 1 << 16
)

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
	g := products.Get().(*product)
	g.y, g.ldy, g.x, g.ldx, g.m, g.w, g.acc = y, ldy, x, ldx, m, *w, accumulate
	if w.prec == BF16 {
		g.round(p)
	}
	g.multiply(p)
	g.release()
}

// product is one call's operands. It is kept for the next call, with its functions bound once, so that a call allocates
// nothing.
type product struct {
	y, x     []float32
	ldy, ldx int
	h        []uint16 // x in bf16, for bf16 panels
	ldh      int
	r        []float32 // x rounded to bf16, for f32 panels of rounded values
	t        []float32 // xᵀ packed: [⌈m/8⌉, K, 8], instead of x
	m        int
	w        Packed
	acc      bool

	scratchF *[]float32
	scratchH *[]uint16

	roundRows, packColumns, byPanels, byRows func(lo, hi int)
}

var products = sync.Pool{New: func() any {
	g := new(product)
	g.roundRows, g.packColumns = g.roundPart, g.packPart
	g.byPanels = func(lo, hi int) { g.run(lo, hi, 0, g.m) }
	g.byRows = func(lo, hi int) { g.run(0, g.w.panels(), lo, hi) }
	return g
}}

func (g *product) release() {
	if g.scratchF != nil {
		putF32(g.scratchF)
	}
	if g.scratchH != nil {
		putU16(g.scratchH)
	}
	*g = product{roundRows: g.roundRows, packColumns: g.packColumns, byPanels: g.byPanels, byRows: g.byRows}
	products.Put(g)
}

// round replaces x by its values rounded to bf16: as bf16 where the panels are, otherwise as f32.
func (g *product) round(p *Pool) {
	k := g.w.K
	if g.w.h != nil || g.w.codes != nil {
		g.ldh = (k + 1) &^ 1
		g.scratchH = getU16(g.m * g.ldh)
		g.h = *g.scratchH
	} else {
		g.scratchF = getF32(g.m * k)
		g.r = *g.scratchF
	}
	p.Run(g.m, max(8, g.m/(4*p.Threads())), g.roundRows)
	if g.r != nil {
		g.x, g.ldx = g.r, k
	}
}

func (g *product) roundPart(lo, hi int) {
	k := g.w.K
	for i := lo; i < hi; i++ {
		src := g.x[i*g.ldx : i*g.ldx+k]
		if g.h == nil {
			roundToBF16(g.r[i*k:(i+1)*k], src)
			continue
		}
		row := g.h[i*g.ldh : (i+1)*g.ldh]
		toBF16(row[:k], src)
		clear(row[k:])
	}
}

// multiply splits the product into panels or, where those are few, rows, several parts a thread so that a thread that is
// held up leaves its parts to others. Each output is computed by one thread.
func (g *product) multiply(p *Pool) {
	panels, t := g.w.panels(), p.Threads()
	switch {
	case t == 1 || g.m*g.w.N*g.w.K < fewWork:
		g.run(0, panels, 0, g.m)
	case g.w.codes != nil && tilesBF16():
		p.Run(panels, max(1, min(unpackedPanels, panels/(2*t))), g.byPanels)
	case panels >= 4*t || g.m <= 8:
		p.Run(panels, max(1, (panels/(t*8)+1)&^1), g.byPanels) // an even number, for the kernels that take two panels
	default:
		p.Run(g.m, max(8, (g.m/(t*4)+7)&^7), g.byRows)
	}
}

// run computes the rows [r0, r1) of the panels [p0, p1); r0 is a multiple of 8.
func (g *product) run(p0, p1, r0, r1 int) {
	k := g.w.K
	if k == 0 && !g.acc {
		for r := r0; r < r1; r++ {
			clear(g.y[r*g.ldy+p0*panel : r*g.ldy+min(p1*panel, g.w.N)])
		}
		return
	}
	if g.w.codes != nil {
		g.runCodes(p0, p1, r0, r1)
		return
	}
	for k0 := 0; k0 < k; k0 += blockK {
		kn := min(blockK, k-k0)
		step := max(64, blockRows/kn&^7)
		var wide *[]float32
		exact := g.w.e != nil && r1-r0 == 1 && exactRow()
		if g.w.e != nil && !exact {
			wide = getF32(kn * panel)
		}
		for m0 := r0; m0 < r1; m0 += step {
			m1 := min(m0+step, r1)
			for i := p0; i < p1; i++ {
				if exact && i+1 < p1 && (i+2)*panel <= g.w.N && kn == k { // the next panel's part lies beside this one's
					microExact(2, k, g.x[r0*g.ldx:], g.w.e[i*k*panel:], g.y[r0*g.ldy+i*panel:], g.acc)
					i++
					continue
				}
				b, h := g.panel(i, k0, kn, wide), g.pairs(i, k0)
				for r := m0; r < m1; {
					n := g.rows(m1-r, h)
					g.tile(i, k0, kn, r, n, b, h, g.acc || k0 > 0)
					r += n
				}
			}
		}
		if wide != nil {
			putF32(wide)
		}
	}
}

// panel returns kn values of k of a panel of f32, widened from bf16 when there is room for that; nil for other panels.
func (g *product) panel(i, k0, kn int, wide *[]float32) []float32 {
	at, end := (i*g.w.K+k0)*panel, (i*g.w.K+k0+kn)*panel
	switch {
	case wide != nil:
		fromBF16(*wide, g.w.e[at:end])
		return *wide
	case g.w.f != nil:
		return g.w.f[at:end]
	}
	return nil
}

// pairs returns the values of a panel of pairs from k0 on; nil for other panels.
func (g *product) pairs(i, k0 int) []uint16 {
	if g.w.h == nil {
		return nil
	}
	return g.w.h[(i*((g.w.K+1)/2)+k0/2)*panel*2:]
}

// rows returns how many of the rows left the next tile takes, of values or of pairs h.
func (g *product) rows(left int, h []uint16) int {
	if h != nil && tilesBF16() {
		return min(left, max(2*amxRows, tiledBytes/(2*min(blockK, g.w.K))&^(2*amxRows-1)))
	}
	return rowsOf(left)
}

// tile computes n rows of one panel, at most 8 or what rows said, over kn values of k, which b has or, in pairs, h.
func (g *product) tile(i, k0, kn, r, n int, b []float32, h []uint16, acc bool) {
	cols := min(panel, g.w.N-i*panel)
	if cols < panel || n < 8 && g.t != nil {
		for end := r + n; r < end; r += 8 {
			g.edge(i, k0, kn, r, min(8, end-r), cols, b, h, acc)
		}
		return
	}
	g.inner(i, k0, kn, r, n, b, h, g.y[r*g.ldy+i*panel:], g.ldy, acc)
}

// edge is tile where less than the micro-kernel writes belongs to y.
func (g *product) edge(i, k0, kn, r, n, cols int, b []float32, h []uint16, acc bool) {
	var whole [8 * panel]float32
	g.inner(i, k0, kn, r, n, b, h, whole[:], panel, false)
	for q := range n {
		d, s := g.y[(r+q)*g.ldy+i*panel:][:cols], whole[q*panel:][:cols]
		if acc {
			add(d, d, s)
		} else {
			copy(d, s)
		}
	}
}

func (g *product) inner(i, k0, kn, r, n int, b []float32, h []uint16, c []float32, ldc int, acc bool) {
	k := g.w.K
	switch {
	case g.t != nil:
		microTransposed(kn, g.t[(r/8*k+k0)*8:], 8, b, c, ldc, acc)
	case h != nil:
		microBF16(n, (kn+1)/2, g.h[r*g.ldh+k0:], g.ldh, h, c, ldc, acc)
	case b == nil:
		microExact(1, kn, g.x[r*g.ldx+k0:], g.w.e[(i*k+k0)*panel:], c, acc)
	default:
		micro(n, kn, g.x[r*g.ldx+k0:], g.ldx, b, c, ldc, acc)
	}
}

// rowsOf returns how many rows the next tile takes.
func rowsOf(left int) int { return min(8, left) }
