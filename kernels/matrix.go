package kernels

import "fmt"

// Matrix is [Rows, Cols] values of f32 whose rows begin Stride values apart, such as some columns of a wider matrix.
type Matrix struct {
	Data               []float32
	Rows, Cols, Stride int
}

// Dense returns the matrix whose rows follow each other without gaps.
func Dense(data []float32, rows, cols int) Matrix { return Matrix{data, rows, cols, cols} }

// Row returns row i.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Stride:][:m.Cols] }

// Slice returns the rows [lo, hi).
func (m Matrix) Slice(lo, hi int) Matrix {
	return Matrix{m.Data[min(lo*m.Stride, len(m.Data)):], hi - lo, m.Cols, m.Stride}
}

// Columns returns the columns [lo, hi).
func (m Matrix) Columns(lo, hi int) Matrix {
	return Matrix{m.Data[min(lo, len(m.Data)):], m.Rows, hi - lo, m.Stride}
}

// Clear makes all values 0.
func (m Matrix) Clear() {
	for i := range m.Rows {
		clear(m.Row(i))
	}
}

func (m Matrix) check(what string, rows, cols int) {
	if m.Rows != rows || m.Cols != cols || m.Stride < m.Cols || rows > 0 && len(m.Data) < (rows-1)*m.Stride+cols {
		panic(fmt.Sprintf("kernels: %s [%d, %d] of stride %d in %d values, want [%d, %d]", what, m.Rows, m.Cols, m.Stride, len(m.Data), rows, cols))
	}
}

// MulNT writes c = a·bᵀ, or adds it: c: [m, n], a: [m, k], b: [n, k]. It is MatMulNT for matrices with strides. A row of c
// depends on its row of a alone, to the bit. c must not share memory with a or b. A b of few rows without gaps, as those of a
// low rank, is read as it is, with sums in another order than a packed one's.
func MulNT(p *Pool, c, a, b Matrix, accumulate bool) {
	a.check("a", c.Rows, b.Cols)
	b.check("b", c.Cols, a.Cols)
	if few(b) && !accumulate {
		c.check("c", c.Rows, b.Rows)
		fewDots.run(p, c.Rows, rowGrain, fewRows{c, a, b, false})
		return
	}
	mulMatrix(p, c, a, b, b.Stride, 1, false, accumulate)
}

// MulNN writes c = a·b, or adds it: c: [m, n], a: [m, k], b: [k, n]. See MulNT.
func MulNN(p *Pool, c, a, b Matrix, accumulate bool) {
	a.check("a", c.Rows, b.Rows)
	b.check("b", a.Cols, c.Cols)
	if few(b) {
		c.check("c", c.Rows, b.Cols)
		fewSums.run(p, c.Rows, rowGrain, fewRows{c, a, b, accumulate})
		return
	}
	mulMatrix(p, c, a, b, 1, b.Stride, false, accumulate)
}

// MulTN writes c = aᵀ·b, or adds it: c: [m, n], a: [k, m], b: [k, n]. See MulNT.
func MulTN(p *Pool, c, a, b Matrix, accumulate bool) {
	a.check("a", b.Rows, c.Rows)
	b.check("b", a.Rows, c.Cols)
	mulMatrix(p, c, a, b, 1, b.Stride, true, accumulate)
}

// maxFew is how many rows of b, such as a low rank, are too few for packing them to pay: a panel has 48.
const maxFew = 16

// firstRows are the numbers of b's rows.
var firstRows = [maxFew]uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func few(b Matrix) bool { return b.Rows <= maxFew && b.Stride == b.Cols }

// fewRows is a product with few rows of b: row by row of c, as b is.
type fewRows struct {
	c, a, b    Matrix
	accumulate bool
}

var fewDots, fewSums = keep((*fewRows).dots), keep((*fewRows).sums)

// dots computes the rows [lo, hi) of a·bᵀ.
func (o *fewRows) dots(lo, hi int) {
	for i := lo; i < hi; i++ {
		GatherDot(o.c.Row(i), o.b.Data, o.b.Cols, firstRows[:o.b.Rows], o.a.Row(i))
	}
}

// sums computes the rows [lo, hi) of a·b.
func (o *fewRows) sums(lo, hi int) {
	for i := lo; i < hi; i++ {
		if !o.accumulate {
			clear(o.c.Row(i))
		}
		GatherAxpy(o.c.Row(i), o.b.Data, o.b.Cols, firstRows[:o.b.Rows], o.a.Row(i))
	}
}

// mulMatrix packs b, whose strides along n and k are given, and a when it is transposed, into scratch.
func mulMatrix(p *Pool, c, a, b Matrix, rn, rk int, transposed, accumulate bool) {
	c.check("c", c.Rows, c.Cols)
	k := a.Cols
	if transposed {
		k = a.Rows
	}
	if c.Rows == 0 || c.Cols == 0 {
		return
	}
	g := products.Get().(*product)
	g.y, g.ldy, g.x, g.ldx, g.m, g.acc = c.Data, c.Stride, a.Data, a.Stride, c.Rows, accumulate
	g.w = Packed{N: c.Cols, K: k}
	buf := getF32(g.w.panels() * k * panel)
	g.w.f = *buf
	if c.Cols%panel != 0 { // what fills the last panel up
		clear(g.w.f[(g.w.panels()-1)*k*panel:])
	}
	if k > 0 {
		g.w.lay(p, b.Data, rn, rk)
	}
	if transposed {
		g.scratchF = getF32((c.Rows + 7) / 8 * k * 8)
		g.t = *g.scratchF
		p.Run((c.Rows+7)/8, 8, g.packColumns)
	}
	g.multiply(p)
	putF32(buf)
	g.release()
}
