//go:build !amd64 || noasm

package kernels

// mulTiles is mulRows for one block of k.
func mulTiles(c []float32, ldc int, a strided, b []float32, ldb, m, n, k int, acc bool) {
	mulTilesGeneric(c, ldc, a, b, ldb, m, n, k, acc)
}
