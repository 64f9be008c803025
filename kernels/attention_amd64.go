//go:build !noasm

package kernels

// The rows of attention's scores are whole vectors of 16.

// softmaxGrad writes p = exp(factor·s - lse) to s and factor·p·(d - delta) to d.
func softmaxGrad(s, d []float32, factor, lse, delta float32) {
	_ = d[len(s)-1]
	switch active {
	case AVX512:
		softmaxGradAVX512(len(s), &s[0], &d[0], factor, lse, delta)
	case AVX2:
		softmaxGradAVX2(len(s), &s[0], &d[0], factor, lse, delta)
	default:
		softmaxGradGeneric(s, d, factor, lse, delta)
	}
}

// expSumBF16s writes exp(factor·x - shift) in bf16 and returns its sum before rounding.
func expSumBF16s(dst []uint16, x []float32, factor, shift float32) float32 {
	if !HasBF16() {
		return expSumBF16Generic(dst, x, factor, shift)
	}
	_ = dst[len(x)-1]
	return expSumBF16(len(x), &dst[0], &x[0], factor, shift)
}

// softmaxGradBF16s is softmaxGrad of n elements of two rows, ld apart, to bf16: p and ds get pairs of the rows, rows the
// second result row by row, likewise ld apart.
func softmaxGradBF16s(n int, s, d []float32, ld int, p, ds, rows []uint16, factor float32, lse, delta []float32) {
	if !HasBF16() {
		softmaxGradBF16Generic(n, s, d, ld, p, ds, rows, factor, lse, delta)
		return
	}
	_, _, _, _, _, _, _ = s[ld+n-1], d[ld+n-1], p[2*n-1], ds[2*n-1], rows[ld+n-1], lse[1], delta[1]
	softmaxGradBF16(n, &s[0], &d[0], ld, &p[0], &ds[0], &rows[0], factor, &lse[0], &delta[0])
}
