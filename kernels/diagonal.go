package kernels

// diagonalBlock is how many columns are worked on at a time.
const diagonalBlock = 256

// AddDiagonal adds s[i]·d⊙x[i] to row i of y: a product with a diagonal matrix. y and x: [n, cols], d: [cols], s: [n].
func AddDiagonal(p *Pool, y, x Matrix, d, s []float32) {
	y.check("y", x.Rows, len(d))
	x.check("x", len(s), len(d))
	addDiagonals.run(p, x.Rows, rowGrain, diagonal{y: y, x: x, d: d, s: s})
}

// AddDiagonalGradient adds Σ s[i]·dy[i]⊙x[i] to dd: [cols], the gradient of AddDiagonal with respect to d. Its sums have the
// same order whatever the number of threads.
func AddDiagonalGradient(p *Pool, dd []float32, dy, x Matrix, s []float32) {
	dy.check("dy", x.Rows, len(dd))
	x.check("x", len(s), len(dd))
	diagonalGradients.run(p, (len(dd)+diagonalBlock-1)/diagonalBlock, 1, diagonal{y: dy, x: x, d: dd, s: s})
}

// diagonal is one call's operands; y is dy, and d its gradient, in the backward.
type diagonal struct {
	y, x Matrix
	d, s []float32
}

var addDiagonals, diagonalGradients = keep((*diagonal).forward), keep((*diagonal).gradient)

func (o *diagonal) forward(lo, hi int) {
	var part [diagonalBlock]float32
	for i := lo; i < hi; i++ {
		y, x, d := o.y.Row(i), o.x.Row(i), o.d
		for len(d) > 0 {
			n := min(len(d), diagonalBlock)
			mulScale(part[:n], d[:n], x[:n], o.s[i])
			add(y[:n], y[:n], part[:n])
			y, x, d = y[n:], x[n:], d[n:]
		}
	}
}

// gradient sums the blocks of columns [lo, hi).
func (o *diagonal) gradient(lo, hi int) {
	var part [diagonalBlock]float32
	for b := lo; b < hi; b++ {
		from, to := b*diagonalBlock, min((b+1)*diagonalBlock, len(o.d))
		n := to - from
		for i := range o.x.Rows {
			mulScale(part[:n], o.y.Row(i)[from:to], o.x.Row(i)[from:to], o.s[i])
			add(o.d[from:to], o.d[from:to], part[:n])
		}
	}
}
