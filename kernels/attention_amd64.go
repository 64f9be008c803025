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

// maxRows writes the largest of the first n elements of rows of x, ld apart.
func maxRows(top, x []float32, ld, n int) {
	_ = x[(len(top)-1)*ld+n-1]
	switch active {
	case AVX512:
		maxRowsAVX512(len(top), n, &x[0], ld, &top[0])
	case AVX2:
		maxRowsAVX2(len(top), n, &x[0], ld, &top[0])
	default:
		maxRowsGeneric(top, x, ld, n)
	}
}

// expRows replaces the first n elements of rows of x, ld apart, by exp(factor·x - top) and writes their sums.
func expRows(sum, x []float32, ld, n int, factor float32, top []float32) {
	_, _ = x[(len(sum)-1)*ld+n-1], top[len(sum)-1]
	switch active {
	case AVX512:
		expRowsAVX512(len(sum), n, &x[0], ld, factor, &top[0], &sum[0])
	case AVX2:
		expRowsAVX2(len(sum), n, &x[0], ld, factor, &top[0], &sum[0])
	default:
		expRowsGeneric(sum, x, ld, n, factor, top)
	}
}

// expRowsBF16s is expRows to rows of dst in bf16, ld apart too; the sums are those before rounding.
func expRowsBF16s(sum []float32, dst []uint16, x []float32, ld, n int, factor float32, top []float32) {
	if !vectorsBF16() {
		expRowsBF16Generic(sum, dst, x, ld, n, factor, top)
		return
	}
	_, _, _ = x[(len(sum)-1)*ld+n-1], dst[(len(sum)-1)*ld+n-1], top[len(sum)-1]
	expRowsBF16(len(sum), n, &dst[0], &x[0], ld, factor, &top[0], &sum[0])
}

// softmaxGradBF16s is softmaxGrad of n elements of two rows, ld apart, to bf16: p and ds get pairs of the rows, rows the
// second result row by row, likewise ld apart.
func softmaxGradBF16s(n int, s, d []float32, ld int, p, ds, rows []uint16, factor float32, lse, delta []float32) {
	if !vectorsBF16() {
		softmaxGradBF16Generic(n, s, d, ld, p, ds, rows, factor, lse, delta)
		return
	}
	_, _, _, _, _, _, _ = s[ld+n-1], d[ld+n-1], p[2*n-1], ds[2*n-1], rows[ld+n-1], lse[1], delta[1]
	softmaxGradBF16(n, &s[0], &d[0], ld, &p[0], &ds[0], &rows[0], factor, &lse[0], &delta[0])
}
