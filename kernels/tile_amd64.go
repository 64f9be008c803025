//go:build !noasm

package kernels

// mulTiles is mulRows for one block of k; the lengths have been checked.
func mulTiles(c []float32, ldc int, a strided, b []float32, ldb, m, n, k int, acc bool) {
	lanes := 16
	switch active {
	case Generic:
		mulTilesGeneric(c, ldc, a, b, ldb, m, n, k, acc)
		return
	case AVX2:
		lanes = 8
	}
	j := 0
	for n-j >= lanes {
		vectors := (n - j) / lanes
		if vectors >= 4 && active == AVX512 {
			vectors = 4
		} else {
			vectors = min(2, vectors)
		}
		for i := 0; i < m; {
			i += mulTile(m-i, vectors, k, &a.x[i*a.rows], a.rows, a.cols, &b[j], ldb, &c[i*ldc+j], ldc, acc)
		}
		j += vectors * lanes
	}
	if j < n {
		mulTilesGeneric(c[j:], ldc, a, b[j:], ldb, m, n-j, k, acc)
	}
}

// mulTile multiplies at most m rows and returns how many.
func mulTile(m, vectors, k int, a *float32, ars, acs int, b *float32, ldb int, c *float32, ldc int, acc bool) int {
	two := vectors == 2
	if active == AVX512 {
		switch {
		case vectors == 4:
			return mulTile4(m, k, a, ars, acs, b, ldb, c, ldc, acc)
		case m >= 8 && two:
			tile8x2AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
			return 8
		case m >= 8:
			tile8x1AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
			return 8
		case m >= 4 && two:
			tile4x2AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
			return 4
		case m >= 4:
			tile4x1AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
			return 4
		case two:
			tile1x2AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
		default:
			tile1x1AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
		}
		return 1
	}
	switch {
	case m >= 4 && two:
		tile4x2AVX2(k, a, ars, acs, b, ldb, c, ldc, acc)
		return 4
	case m >= 4:
		tile4x1AVX2(k, a, ars, acs, b, ldb, c, ldc, acc)
		return 4
	case two:
		tile1x2AVX2(k, a, ars, acs, b, ldb, c, ldc, acc)
	default:
		tile1x1AVX2(k, a, ars, acs, b, ldb, c, ldc, acc)
	}
	return 1
}

// mulTile4 is mulTile of four vectors, with registers for six rows.
func mulTile4(m, k int, a *float32, ars, acs int, b *float32, ldb int, c *float32, ldc int, acc bool) int {
	switch {
	case m >= 6:
		tile6x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
		return 6
	case m == 5:
		tile5x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 4:
		tile4x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 3:
		tile3x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
	case m == 2:
		tile2x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
	default:
		tile1x4AVX512(k, a, ars, acs, b, ldb, c, ldc, acc)
	}
	return m
}
