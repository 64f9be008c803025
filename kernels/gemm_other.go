//go:build !amd64 || noasm

package kernels

func micro(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	microGeneric(n, k, a, lda, b, c, ldc, acc)
}

func microTransposed(k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	microTransposedGeneric(k, a, lda, b, c, ldc, acc)
}

func microBF16(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	microBF16Generic(n, pairs, a, lda, b, c, ldc, acc)
}

func exactRow() bool { return false }

func microExact(int, int, []float32, []uint16, []float32, bool) {}
