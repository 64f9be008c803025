//go:build !noasm

package kernels

// micro multiplies n (8, 4, 2 or 1) rows of a with k rows of a packed panel.
func micro(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	if active == Generic || k == 0 {
		microGeneric(n, k, a, lda, b, c, ldc, acc)
		return
	}
	_, _, _ = a[(n-1)*lda+k-1], b[k*panel-1], c[(n-1)*ldc+panel-1]
	if active == AVX512 {
		switch n {
		case 8:
			gemm8x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
		case 4:
			gemm4x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
		case 2:
			gemm2x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
		default:
			gemm1x48AVX512(k, &a[0], lda, &b[0], &c[0], ldc, acc)
		}
		return
	}
	for half := 0; half < panel; half += panel / 2 {
		switch n {
		case 8:
			gemm4x24AVX2(k, &a[0], lda, &b[half], &c[half], ldc, acc)
			gemm4x24AVX2(k, &a[4*lda], lda, &b[half], &c[4*ldc+half], ldc, acc)
		case 4:
			gemm4x24AVX2(k, &a[0], lda, &b[half], &c[half], ldc, acc)
		case 2:
			gemm2x24AVX2(k, &a[0], lda, &b[half], &c[half], ldc, acc)
		default:
			gemm1x24AVX2(k, &a[0], lda, &b[half], &c[half], ldc, acc)
		}
	}
}

// microBF16 multiplies n rows of bf16 pairs with rows of a packed panel of pairs.
func microBF16(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	if !HasBF16() || pairs == 0 {
		microBF16Generic(n, pairs, a, lda, b, c, ldc, acc)
		return
	}
	_, _, _ = a[(n-1)*lda+2*pairs-1], b[pairs*panel*2-1], c[(n-1)*ldc+panel-1]
	switch n {
	case 8:
		gemm8x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 4:
		gemm4x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	case 2:
		gemm2x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	default:
		gemm1x48BF16(pairs, &a[0], lda, &b[0], &c[0], ldc, acc)
	}
}
