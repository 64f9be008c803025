//go:build !noasm

package kernels

// micro multiplies n rows of a, at most 8, with k rows of a packed panel.
func micro(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	if active == Generic || k == 0 {
		microGeneric(n, k, a, lda, b, c, ldc, acc)
		return
	}
	_, _, _ = a[(n-1)*lda+k-1], b[k*panel-1], c[(n-1)*ldc+panel-1]
	if active == AVX2 {
		microAVX2(n, k, a, lda, b, c, ldc, acc)
		return
	}
	switch n {
	case 8:
		gemm8x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 7:
		gemm7x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 6:
		gemm6x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 5:
		gemm5x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 4:
		gemm4x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 3:
		gemm3x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 2:
		gemm2x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	default:
		gemm1x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
	}
}

// exactRow reports whether there is a kernel for one row and panels of bf16.
func exactRow() bool { return active == AVX512 }

// microExact multiplies a row with k rows of one or two packed panels of bf16 that lie side by side.
func microExact(panels, k int, a []float32, b []uint16, c []float32, acc bool) {
	_, _, _ = a[k-1], b[panels*k*panel-1], c[panels*panel-1]
	if panels == 2 {
		gemm1x96ExactAVX512(k, &a[0], &b[0], &c[0], acc)
	} else {
		gemm1x48ExactAVX512(k, &a[0], &b[0], &c[0], acc)
	}
}

// microAVX2 has registers for four rows of half a panel or two rows of a whole one.
func microAVX2(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	r := n &^ 3
	if r > 0 {
		for half := 0; half < panel; half += panel / 2 {
			for i := 0; i < r; i += 4 {
				gemm4x24AVX2(k, &a[i*lda], lda, &b[half], &c[i*ldc+half], ldc, acc)
			}
		}
	}
	if n&2 != 0 {
		gemm2x48AVX2(k, &a[r*lda], lda, &b[0], &c[r*ldc], ldc, acc)
		r += 2
	}
	if n&1 != 0 {
		gemm1x48AVX2(k, &a[r*lda], lda, &b[0], &c[r*ldc], ldc, acc)
	}
}

// microTransposed multiplies 8 columns of a, k rows lda apart, with k rows of a packed panel.
func microTransposed(k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	if active == Generic || k == 0 {
		microTransposedGeneric(k, a, lda, b, c, ldc, acc)
		return
	}
	_, _, _ = a[(k-1)*lda+7], b[k*panel-1], c[7*ldc+panel-1]
	if active == AVX512 {
		gemmT8x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
		return
	}
	for half := 0; half < panel; half += panel / 2 {
		gemmT4x24AVX2(k, &a[0], lda, &b[half], &c[half], ldc, acc)
		gemmT4x24AVX2(k, &a[4], lda, &b[half], &c[4*ldc+half], ldc, acc)
	}
}

// microBF16 multiplies n rows of bf16 pairs, at most 8 but by tiles, with rows of a packed panel of pairs.
func microBF16(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	if tilesBF16() && pairs > 0 {
		microTiles(n, pairs, a, lda, b, c, ldc, acc)
		return
	}
	if !HasBF16() || pairs == 0 {
		microBF16Generic(n, pairs, a, lda, b, c, ldc, acc)
		return
	}
	_, _, _ = a[(n-1)*lda+2*pairs-1], b[pairs*panel*2-1], c[(n-1)*ldc+panel-1]
	switch n {
	case 8:
		gemm8x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 7:
		gemm7x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 6:
		gemm6x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 5:
		gemm5x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 4:
		gemm4x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 3:
		gemm3x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 2:
		gemm2x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	default:
		gemm1x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	}
}
