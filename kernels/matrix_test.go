package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// withGaps copies a dense matrix into one with gaps of NaN between its rows.
func withGaps(m Matrix, gap int) Matrix {
	s := Matrix{make([]float32, m.Rows*(m.Cols+gap)), m.Rows, m.Cols, m.Cols + gap}
	for i := range s.Data {
		s.Data[i] = float32(math.NaN())
	}
	for i := range m.Rows {
		copy(s.Row(i), m.Row(i))
	}
	return s
}

// TestMatrixProducts: products of matrices with gaps have the bits of those without, and leave the gaps alone.
func TestMatrixProducts(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	random := func(rows, cols int) Matrix {
		d := make([]float32, rows*cols)
		for i := range d {
			d[i] = float32(rnd.NormFloat64())
		}
		return Dense(d, rows, cols)
	}
	for _, s := range [][3]int{{1, 1, 1}, {3, 50, 8}, {130, 8, 97}, {8, 96, 2100}, {1, 97, 16}} {
		m, n, k := s[0], s[1], s[2]
		for name, c := range map[string]struct {
			f    func(p *Pool, c, a, b Matrix, accumulate bool)
			a, b Matrix
			at   func(a, b Matrix, i, j, l int) (x, y float32)
		}{
			"NT": {MulNT, random(m, k), random(n, k), func(a, b Matrix, i, j, l int) (x, y float32) { return a.Row(i)[l], b.Row(j)[l] }},
			"NN": {MulNN, random(m, k), random(k, n), func(a, b Matrix, i, j, l int) (x, y float32) { return a.Row(i)[l], b.Row(l)[j] }},
			"TN": {MulTN, random(k, m), random(k, n), func(a, b Matrix, i, j, l int) (x, y float32) { return a.Row(l)[i], b.Row(l)[j] }},
		} {
			for _, acc := range []bool{false, true} {
				dense := random(m, n)
				gaps := withGaps(dense, 5)
				before := slices.Clone(dense.Data)
				c.f(nil, dense, c.a, c.b, acc)
				b := c.b
				if !few(b) { // few rows with gaps between them are packed, those without are not
					b = withGaps(b, 7)
				}
				c.f(pool, gaps, withGaps(c.a, 3), b, acc)
				for i := range m {
					if !slices.Equal(gaps.Row(i), dense.Row(i)) {
						t.Fatalf("%s %v: row %d has other bits with gaps", name, s, i)
					}
					for j := range n {
						var want, size float64
						if acc {
							want = float64(before[i*n+j])
						}
						for l := range k {
							x, y := c.at(c.a, c.b, i, j, l)
							want += float64(x) * float64(y)
							size += math.Abs(float64(x) * float64(y))
						}
						if got := float64(dense.Row(i)[j]); math.Abs(got-want) > 1e-5*(1+size) {
							t.Fatalf("%s %v: c[%d, %d] = %g, want %g", name, s, i, j, got, want)
						}
					}
				}
				for i := range m {
					for _, v := range gaps.Data[i*gaps.Stride+n : (i+1)*gaps.Stride] {
						if v == v {
							t.Fatalf("%s %v: something was written between the rows", name, s)
						}
					}
				}
			}
		}
	}
}

// TestDiagonal compares the product with a diagonal and its gradient with their formulas, and threads with one another.
func TestDiagonal(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	rnd := rand.New(rand.NewPCG(3, 4))
	const rows, cols = 70, 600
	random := func(n int) []float32 {
		d := make([]float32, n)
		for i := range d {
			d[i] = float32(rnd.NormFloat64())
		}
		return d
	}
	x, y, d, s := Dense(random(rows*cols), rows, cols), Dense(random(rows*cols), rows, cols), random(cols), random(rows)
	out, dd := slices.Clone(y.Data), make([]float32, cols)
	AddDiagonal(nil, Dense(out, rows, cols), x, d, s)
	AddDiagonalGradient(nil, dd, y, x, s)
	for j := range cols {
		var sum float64
		for i := range rows {
			if want := float64(y.Row(i)[j]) + float64(s[i])*float64(d[j])*float64(x.Row(i)[j]); math.Abs(float64(out[i*cols+j])-want) > 1e-5*(1+math.Abs(want)) {
				t.Fatalf("y[%d, %d] = %g, want %g", i, j, out[i*cols+j], want)
			}
			sum += float64(s[i]) * float64(y.Row(i)[j]) * float64(x.Row(i)[j])
		}
		if math.Abs(float64(dd[j])-sum) > 1e-4*(1+math.Abs(sum)) {
			t.Fatalf("dd[%d] = %g, want %g", j, dd[j], sum)
		}
	}
	gaps, again := withGaps(y, 9), make([]float32, cols)
	AddDiagonalGradient(pool, again, gaps, withGaps(x, 2), s)
	AddDiagonal(pool, gaps, withGaps(x, 2), d, s)
	if !slices.Equal(dd, again) {
		t.Error("the gradient's bits depend on threads or strides")
	}
	for i := range rows {
		if !slices.Equal(gaps.Row(i), out[i*cols:(i+1)*cols]) {
			t.Fatalf("row %d: the bits depend on threads or strides", i)
		}
	}
}
