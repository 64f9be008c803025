package kernels

import "fmt"

// pairs is a matrix of pairs of bf16 along k, whose pair (i, k) stands at x[2·(i·rows + k·cols)].
type pairs struct {
	x          []uint16
	rows, cols int
}

// mulPairs is mulRows of bf16 with sums in f32: a: [m, k] pairs; b: k rows of n pairs, ldb pairs apart; n is a multiple of
// 16 and k, in pairs, is positive.
func mulPairs(c []float32, ldc int, a pairs, b []uint16, ldb, m, n, k int, acc bool) {
	if len(c) < (m-1)*ldc+n || len(a.x) < 2*((m-1)*a.rows+(k-1)*a.cols+1) || len(b) < 2*((k-1)*ldb+n) || n%16 != 0 {
		panic(fmt.Sprintf("kernels: product of [%d, %d] and [%d, %d] pairs in slices of %d, %d and %d elements", m, k, k, n, len(c), len(a.x), len(b)))
	}
	for k0 := 0; k0 < k; k0 += tileK {
		part := pairs{a.x[2*k0*a.cols:], a.rows, a.cols}
		mulTilesBF16(c, ldc, part, b[2*k0*ldb:], ldb, m, n, min(tileK, k-k0), acc || k0 > 0)
	}
}

func mulTilesBF16Generic(c []float32, ldc int, a pairs, b []uint16, ldb, m, n, k int, acc bool) {
	for i := range m {
		row := c[i*ldc:][:n]
		if !acc {
			clear(row)
		}
		for kk := range k {
			at := 2 * (i*a.rows + kk*a.cols)
			x, y := bf16(a.x[at]), bf16(a.x[at+1])
			for j, w := 0, b[2*kk*ldb:][:2*n]; j < n; j++ {
				row[j] += x*bf16(w[2*j]) + y*bf16(w[2*j+1])
			}
		}
	}
}

// pairRows rounds rows of x, ld apart, to bf16 and lays each two out as pairs: dst: [⌈rows/2⌉, n, 2]; zeros stand beside
// an odd last row.
func pairRows(dst []uint16, x []float32, ld, rows, n int) {
	for r := 0; r+1 < rows; r += 2 {
		pairBF16s(dst[r*n:][:2*n], x[r*ld:][:n], x[(r+1)*ld:][:n])
	}
	if rows%2 == 1 {
		d := dst[(rows-1)*n:][:2*n]
		for j, v := range x[(rows-1)*ld:][:n] {
			d[2*j], d[2*j+1] = roundBF16(v), 0
		}
	}
}

func pairBF16Generic(dst []uint16, x, y []float32) {
	for j, v := range x {
		dst[2*j], dst[2*j+1] = roundBF16(v), roundBF16(y[j])
	}
}
