//go:build !noasm

package kernels

// mulTilesBF16 is mulPairs for one block of k; the lengths have been checked.
func mulTilesBF16(c []float32, ldc int, a pairs, b []uint16, ldb, m, n, k int, acc bool) {
	if !vectorsBF16() {
		mulTilesBF16Generic(c, ldc, a, b, ldb, m, n, k, acc)
		return
	}
	for j := 0; j < n; {
		mul, columns := mulTile4BF16, 64
		if n-j < columns {
			mul, columns = mulTile1BF16, 16
		}
		for i := 0; i < m; {
			i += mul(m-i, k, &a.x[2*i*a.rows], a.rows, a.cols, &b[2*j], ldb, &c[i*ldc+j], ldc, acc)
		}
		j += columns
	}
}

// mulTile4BF16 multiplies at most m rows with 64 columns and returns how many.
func mulTile4BF16(m, k int, a *uint16, ars, acs int, b *uint16, ldb int, c *float32, ldc int, acc bool) int {
	switch {
	case m >= 6:
		tile6x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
		return 6
	case m == 5:
		tile5x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 4:
		tile4x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 3:
		tile3x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 2:
		tile2x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	default:
		tile1x4BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	}
	return m
}

// mulTile1BF16 is mulTile4BF16 of 16 columns.
func mulTile1BF16(m, k int, a *uint16, ars, acs int, b *uint16, ldb int, c *float32, ldc int, acc bool) int {
	switch {
	case m >= 6:
		tile6x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
		return 6
	case m == 5:
		tile5x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 4:
		tile4x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 3:
		tile3x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 2:
		tile2x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	default:
		tile1x1BF16(k, a, ars, acs, b, ldb, c, ldc, acc)
	}
	return m
}

// pairBF16s writes pairs of x and y; the reference does what is left of whole vectors.
func pairBF16s(dst []uint16, x, y []float32) {
	n := 0
	if vectorsBF16() && len(x) >= 16 {
		n = len(x) &^ 15
		_, _ = dst[2*n-1], y[n-1]
		pairBF16(n, &dst[0], &x[0], &y[0])
	}
	pairBF16Generic(dst[2*n:], x[n:], y[n:])
}
