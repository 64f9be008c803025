package kernels

import (
	"fmt"
	"sync"
)

// Sizes of coded weights: the values of a row that share a scale, and the rows laid side by side.
const (
	codeBlock = 32
	codeRows  = 16
)

// Coded is a weight that stays in its codes: groups of 16 rows, in each for every block of 32 values the 16 d, the 16 m and
// the codes, four values of each row side by side as VPDPBUSD reads them. A code of 4 bits shares its byte with the one 16
// values further on.
type Coded struct {
	N, K int
	bits int
	data []byte
}

// Bytes returns the size of the weight.
func (w *Coded) Bytes() int { return len(w.data) }

func (w *Coded) groups() int { return (w.N + codeRows - 1) / codeRows }

// blockBytes is the size of a group's block.
func (w *Coded) blockBytes() int { return 4*codeRows + codeRows*codeBlock*w.bits/8 }

func (w *Coded) group(i int) []byte {
	n := w.K / codeBlock * w.blockBytes()
	return w.data[i*n : (i+1)*n]
}

// MulCoded writes y = x·Wᵀ, or adds it when accumulate: y: [m, N], x: [m, K]. Rows of x are rounded to 16 bits a value in
// blocks of 32 with a scale of their own, so that what is multiplied are whole numbers and the result is as near to the
// product in f32 as that is to the exact one times a few. A row of y depends on its row of x alone, to the bit, not on m.
func MulCoded(p *Pool, y, x []float32, m int, w *Coded, accumulate bool) {
	mulCoded(p, y, x, m, w, false, accumulate)
}

// MulCodedHigh is MulCoded with rows of x rounded to 8 bits a value, which takes half the multiplications: the usual
// arithmetic of quantised models. Where inputs are normal its error is some 0.6 % of the result's, rms.
func MulCodedHigh(p *Pool, y, x []float32, m int, w *Coded, accumulate bool) {
	mulCoded(p, y, x, m, w, true, accumulate)
}

func mulCoded(p *Pool, y, x []float32, m int, w *Coded, high, accumulate bool) {
	if m == 0 || w.N == 0 {
		return
	}
	if len(y) < m*w.N || len(x) < m*w.K {
		panic(fmt.Sprintf("kernels: product [%d, %d]·[%d, %d]ᵀ with %d and %d elements", m, w.K, w.N, w.K, len(y), len(x)))
	}
	g := codedProducts.Get().(*codedProduct)
	g.y, g.x, g.m, g.w, g.high, g.acc = y, x, m, *w, high, accumulate
	g.ldq = w.K / codeBlock * partsOf(high).bytes()
	g.scratch = byteScratch.get(m * g.ldq)
	g.q = *g.scratch
	p.Run(m, max(8, m/(4*p.Threads())), g.quantise)
	t := p.Threads()
	if groups := w.groups(); t == 1 || m*w.N*w.K < fewWork {
		g.run(0, groups)
	} else {
		parts := t * 8
		if m == 1 {
			parts = t * 4 // long streams: the time goes into reading the weight
		}
		p.Run(groups, (groups+parts-1)/parts, g.run)
	}
	byteScratch.put(g.scratch)
	*g = codedProduct{quantise: g.quantise, run: g.run}
	codedProducts.Put(g)
}

var byteScratch scratch[byte]

// codedProduct is one call's operands, kept for the next call with its functions bound once, so that a call allocates
// nothing.
type codedProduct struct {
	y, x    []float32
	m       int
	w       Coded
	high    bool // of x's parts, the high ones alone
	acc     bool
	q       []byte // [m, K/32, bytes of a block]
	ldq     int
	scratch *[]byte

	quantise, run func(lo, hi int)
}

var codedProducts = sync.Pool{New: func() any {
	g := new(codedProduct)
	g.quantise, g.run = g.quantiseRows, g.multiply
	return g
}}

// layout is that of a block of 32 values of x ≈ s·(256·high + low).
type layout uint8

const (
	parts16 layout = iota // the high parts, the low parts, s and s·Σ(256·high + low)
	parts8                // the same without the low parts
	biased8               // the high parts, 256·s and the whole number −128·Σ high
)

const (
	bytes16 = 2*codeBlock + 8
	bytes8  = codeBlock + 8
)

// partsOf is the layout that a product with codes reads.
func partsOf(high bool) layout {
	if high {
		return parts8
	}
	return parts16
}

func (l layout) bytes() int {
	if l == parts16 {
		return bytes16
	}
	return bytes8
}

// quantisedMost is the largest value: high and low are both 127.
const quantisedMost = 127*256 + 127

func (g *codedProduct) quantiseRows(lo, hi int) {
	k, l := g.w.K, partsOf(g.high)
	for i := lo; i < hi; i++ {
		quantiseRow(g.q[i*g.ldq:(i+1)*g.ldq], g.x[i*k:(i+1)*k], l)
	}
}

// codedGroups is the size of the groups, in bytes, that meet some rows of x, which lie in the first cache, before the next
// rows do: they stay in the second.
const codedGroups = 256 << 10

// multiply computes the groups [lo, hi) of all rows.
func (g *codedProduct) multiply(lo, hi int) {
	w, n := &g.w, g.w.N
	tiled := tilesOf(g.m)
	if tiled > 0 {
		g.multiplyTiled(lo, hi, tiled)
	}
	if tiled == g.m {
		return
	}
	step := max(1, codedGroups/max(1, len(w.group(0))))
	for ; lo < hi; lo += step {
		for r := tiled; r < g.m; {
			rows := codedTile(g.m-r, g.high)
			q := g.q[r*g.ldq:]
			for i := lo; i < min(lo+step, hi); i++ {
				group, cols, y := w.group(i), min(codeRows, n-i*codeRows), g.y[r*n+i*codeRows:]
				if cols == codeRows {
					mulCodes(rows, w.bits, g.high, group, q, g.ldq, y, n, g.acc)
				} else {
					g.edge(rows, cols, group, q, y)
				}
			}
			r += rows
		}
	}
}

// tiledBytes is the size of the rows of x that meet all groups before the next rows do, likewise.
const tiledBytes = 512 << 10

// multiplyTiled computes the groups [lo, hi) of the first m rows by tiles.
func (g *codedProduct) multiplyTiled(lo, hi, m int) {
	w, n := &g.w, g.w.N
	room := byteScratch.get(amxSums + w.K*codeRows)
	defer byteScratch.put(room)
	step := max(amxRows, tiledBytes/g.ldq&^(amxRows-1))
	for r := 0; r < m; r += step {
		q, rows := g.q[r*g.ldq:], min(step, m-r)
		for i := lo; i < hi; i++ {
			group, cols, y := w.group(i), min(codeRows, n-i*codeRows), g.y[r*n+i*codeRows:]
			if cols == codeRows {
				mulCodesTiled(rows, w.bits, g.high, group, q, g.ldq, y, n, g.acc, *room)
			} else {
				for r := 0; r < rows; r += amxRows {
					g.edge(amxRows, cols, group, q[r*g.ldq:], y[r*n:])
				}
			}
		}
	}
}

// codedTile is how many of m rows are multiplied at a time.
func codedTile(m int, high bool) int {
	switch {
	case m >= 16 && high:
		return 16
	case m >= 8:
		return 8
	case m >= 4:
		return 4
	}
	return 1
}

// edge multiplies the last group, of fewer than 16 rows of W.
func (g *codedProduct) edge(rows, cols int, group, q []byte, y []float32) {
	var full [16 * codeRows]float32
	for r := 0; r < rows; {
		some := codedTile(rows-r, g.high)
		mulCodes(some, g.w.bits, g.high, group, q[r*g.ldq:], g.ldq, full[r*codeRows:], codeRows, false)
		r += some
	}
	for r := range rows {
		to := y[r*g.w.N:][:cols]
		if g.acc {
			Add(to, to, full[r*codeRows:][:cols])
		} else {
			copy(to, full[r*codeRows:])
		}
	}
}
