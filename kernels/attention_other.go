//go:build !amd64 || noasm

package kernels

func softmaxGrad(s, d []float32, factor, lse, delta float32) {
	softmaxGradGeneric(s, d, factor, lse, delta)
}

func maxRows(top, x []float32, ld, n int) { maxRowsGeneric(top, x, ld, n) }

func expRows(sum, x []float32, ld, n int, factor float32, top []float32) {
	expRowsGeneric(sum, x, ld, n, factor, top)
}

func expRowsBF16s(sum []float32, dst []uint16, x []float32, ld, n int, factor float32, top []float32) {
	expRowsBF16Generic(sum, dst, x, ld, n, factor, top)
}

func softmaxGradBF16s(n int, s, d []float32, ld int, p, ds, rows []uint16, factor float32, lse, delta []float32) {
	softmaxGradBF16Generic(n, s, d, ld, p, ds, rows, factor, lse, delta)
}
