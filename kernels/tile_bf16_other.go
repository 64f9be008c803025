//go:build !amd64 || noasm

package kernels

// mulTilesBF16 is mulPairs for one block of k.
func mulTilesBF16(c []float32, ldc int, a pairs, b []uint16, ldb, m, n, k int, acc bool) {
	mulTilesBF16Generic(c, ldc, a, b, ldb, m, n, k, acc)
}

// pairBF16s writes pairs of x and y.
func pairBF16s(dst []uint16, x, y []float32) { pairBF16Generic(dst, x, y) }
