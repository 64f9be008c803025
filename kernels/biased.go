package kernels

import (
	"fmt"
	"sync"
)

// biasedRows is how many rows of W are unpacked at a time for MulCodedBack: their 32 columns stay in the second cache.
const biasedRows = 2048

// MulCodedBack writes dx = dy·W, or adds it when accumulate, the gradient of MulCoded's input: dx: [m, K], dy: [m, N]. Rows
// of dy are rounded to 8 bits a value in blocks of 32 with a scale of their own, and W, 32 rows and columns at a time, to 8
// bits with one scale. Where gradients are normal the error is some 1 % of the result's, rms. A row of dx depends on its row
// of dy alone, to the bit, not on m.
func MulCodedBack(p *Pool, dx, dy []float32, m int, w *Coded, accumulate bool) {
	if m == 0 || w.K == 0 {
		return
	}
	if len(dx) < m*w.K || len(dy) < m*w.N {
		panic(fmt.Sprintf("kernels: product [%d, %d]·[%d, %d] with %d and %d elements", m, w.N, w.N, w.K, len(dx), len(dy)))
	}
	g := biasedProducts.Get().(*biasedProduct)
	g.y, g.x, g.m, g.w, g.acc = dx, dy, m, *w, accumulate
	g.ldq = (w.N + codeBlock - 1) / codeBlock * bytes8
	g.scratch = byteScratch.get(m * g.ldq)
	g.q = *g.scratch
	p.Run(m, max(8, m/(4*p.Threads())), g.quantise)
	columns := w.K / codeBlock
	if t := p.Threads(); t == 1 || m*w.N*w.K < fewWork {
		g.run(0, columns)
	} else {
		p.Run(columns, max(1, columns/(t*8)), g.run)
	}
	byteScratch.put(g.scratch)
	*g = biasedProduct{quantise: g.quantise, run: g.run}
	biasedProducts.Put(g)
}

// biasedProduct is one call's operands, kept for the next call with its functions bound once, so that a call allocates
// nothing.
type biasedProduct struct {
	y, x    []float32
	m       int
	w       Coded
	acc     bool
	q       []byte // [m, ⌈N/32⌉, bytes8]
	ldq     int
	scratch *[]byte

	quantise, run func(lo, hi int)
}

var biasedProducts = sync.Pool{New: func() any {
	g := new(biasedProduct)
	g.quantise, g.run = g.quantiseRows, g.multiply
	return g
}}

func (g *biasedProduct) quantiseRows(lo, hi int) {
	n := g.w.N
	whole := n &^ (codeBlock - 1)
	for i := lo; i < hi; i++ {
		q, x := g.q[i*g.ldq:(i+1)*g.ldq], g.x[i*n:(i+1)*n]
		quantiseRow(q, x[:whole], biased8)
		if whole < n {
			var last [codeBlock]float32
			copy(last[:], x[whole:])
			quantiseRow(q[whole/codeBlock*bytes8:], last[:], biased8)
		}
	}
}

// multiply computes the columns [32·lo, 32·hi) of all rows.
func (g *biasedProduct) multiply(lo, hi int) {
	w := &g.w
	blocks := (w.N + codeBlock - 1) / codeBlock
	part := min(blocks, biasedRows/codeBlock)
	half := part * codeBlock * codeRows // bytes of 16 columns
	bytes := byteScratch.get(2 * half)
	defer byteScratch.put(bytes)
	scales := getF32(part)
	defer putF32(scales)
	room := byteScratch.get(amxSums)
	defer byteScratch.put(room)
	for b0 := 0; b0 < blocks; b0 += part {
		n := min(part, blocks-b0)
		for c := lo; c < hi; c++ {
			first, second := (*bytes)[:half], (*bytes)[half:2*half]
			w.unpackBiased(first, second, *scales, c, b0, n)
			acc := g.acc || b0 > 0
			tiled := tilesOf(g.m)
			if tiled > 0 {
				q, y := g.q[b0*bytes8:], g.y[c*codeBlock:]
				mulBiasedTiled(tiled, n, first, *scales, q, g.ldq, y, w.K, acc, *room)
				mulBiasedTiled(tiled, n, second, *scales, q, g.ldq, y[codeRows:], w.K, acc, *room)
			}
			for r := tiled; r < g.m; {
				rows := codedTile(g.m-r, true)
				q, y := g.q[r*g.ldq+b0*bytes8:], g.y[r*w.K+c*codeBlock:]
				mulBiased(rows, n, first, *scales, q, g.ldq, y, w.K, acc)
				mulBiased(rows, n, second, *scales, q, g.ldq, y[codeRows:], w.K, acc)
				r += rows
			}
		}
	}
}

// unpackBiased writes the 32 columns of block c of the rows [32·b0, 32·(b0+n)): first and second: [n, 8, 16, 4] bytes, 16
// columns each, four rows of each column side by side; scales: [n]. A value is scale·(byte − 128). Rows that W does not have
// are any.
func (w *Coded) unpackBiased(first, second []byte, scales []float32, c, b0, n int) {
	size, stride := w.blockBytes(), len(w.group(0))
	from := w.data[2*b0*stride+c*size:]
	pairs := min(n, w.groups()/2-b0)
	unpackBiased(first, second, scales, from, w.bits, stride, pairs)
	if pairs < n {
		const block = codeBlock * codeRows
		last := make([]byte, stride+size) // a group of zeros after the last one
		copy(last, from[2*pairs*stride:][:size])
		unpackBiased(first[pairs*block:], second[pairs*block:], scales[pairs:], last, w.bits, stride, 1)
	}
}
