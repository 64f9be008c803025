package kernels

import "fmt"

// tileK is how many k a tile multiplies before the next tile, so that its part of b stays in the first cache.
const tileK = 96

// strided is a matrix whose element (i, k) stands at x[i·rows + k·cols]: a row-major one or its transpose.
type strided struct {
	x          []float32
	rows, cols int
}

// mulRows writes c = a·b, or adds it when acc, without packing, for small matrices: c: m rows of n elements, ldc apart;
// a: [m, k]; b: k rows of n elements, ldb apart. A row of c depends on its row of a alone, to the bit.
func mulRows(c []float32, ldc int, a strided, b []float32, ldb, m, n, k int, acc bool) {
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		for i := 0; i < m && !acc; i++ {
			clear(c[i*ldc : i*ldc+n])
		}
		return
	}
	if len(c) < (m-1)*ldc+n || len(a.x) <= (m-1)*a.rows+(k-1)*a.cols || len(b) < (k-1)*ldb+n {
		panic(fmt.Sprintf("kernels: product of [%d, %d] and [%d, %d] in slices of %d, %d and %d elements", m, k, k, n, len(c), len(a.x), len(b)))
	}
	for k0 := 0; k0 < k; k0 += tileK {
		part := strided{a.x[k0*a.cols:], a.rows, a.cols}
		mulTiles(c, ldc, part, b[k0*ldb:], ldb, m, n, min(tileK, k-k0), acc || k0 > 0)
	}
}

func mulTilesGeneric(c []float32, ldc int, a strided, b []float32, ldb, m, n, k int, acc bool) {
	for i := range m {
		row := c[i*ldc:][:n]
		if !acc {
			clear(row)
		}
		for kk := range k {
			axpyGeneric(a.x[i*a.rows+kk*a.cols], b[kk*ldb:][:n], row)
		}
	}
}
