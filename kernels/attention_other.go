//go:build !amd64 || noasm

package kernels

func softmaxGrad(s, d []float32, factor, lse, delta float32) {
	softmaxGradGeneric(s, d, factor, lse, delta)
}

func expSumBF16s(dst []uint16, x []float32, factor, shift float32) float32 {
	return expSumBF16Generic(dst, x, factor, shift)
}

func softmaxGradBF16s(n int, s, d []float32, ld int, p, ds, rows []uint16, factor float32, lse, delta []float32) {
	softmaxGradBF16Generic(n, s, d, ld, p, ds, rows, factor, lse, delta)
}
