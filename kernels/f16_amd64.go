//go:build !noasm

package kernels

import "unsafe"

func toF16(dst []uint16, x []float32) {
	n := 0
	switch active {
	case AVX512:
		n = len(x) &^ 15
		toF16AVX512(n, unsafe.SliceData(dst), unsafe.SliceData(x))
	case AVX2:
		n = len(x) &^ 7
		toF16AVX2(n, unsafe.SliceData(dst), unsafe.SliceData(x))
	}
	toF16Generic(dst[n:], x[n:])
}

func fromF16(dst []float32, w []uint16) {
	n := 0
	switch active {
	case AVX512:
		n = len(w) &^ 15
		fromF16AVX512(n, unsafe.SliceData(dst), unsafe.SliceData(w))
	case AVX2:
		n = len(w) &^ 7
		fromF16AVX2(n, unsafe.SliceData(dst), unsafe.SliceData(w))
	}
	fromF16Generic(dst[n:], w[n:])
}
