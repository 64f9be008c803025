//go:build !noasm

package kernels

// transpose8 is transpose of 8 rows for as many i as it can, whose number it returns.
func transpose8(dst, src []uint32, n, ld int) int {
	n &^= 7
	if active == Generic || n == 0 {
		return 0
	}
	_, _ = dst[(n-1)*panel+7], src[7*ld+n-1]
	transpose8AVX2(n, &dst[0], &src[0], ld)
	return n
}
