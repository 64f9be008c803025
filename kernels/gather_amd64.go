//go:build !noasm

package kernels

import "unsafe"

// Widths that are no multiple of the lanes go row by row.

func gatherDot(out, table []float32, width int, rows []uint32, x []float32) {
	n, r, t, px, po := len(rows), unsafe.SliceData(rows), unsafe.SliceData(table), unsafe.SliceData(x), unsafe.SliceData(out)
	switch {
	case active == AVX512 && width%16 == 0:
		gatherDotAVX512(n, width, r, t, px, po)
	case active == AVX2 && width%8 == 0:
		gatherDotAVX2(n, width, r, t, px, po)
	default:
		gatherDotEach(out, table, width, rows, x)
	}
}

func gatherAxpy(y, table []float32, width int, rows []uint32, w []float32) {
	n, r, t, pw, py := len(rows), unsafe.SliceData(rows), unsafe.SliceData(table), unsafe.SliceData(w), unsafe.SliceData(y)
	switch {
	case active == AVX512 && width%16 == 0:
		gatherAxpyAVX512(n, width, r, t, pw, py)
	case active == AVX2 && width%8 == 0:
		gatherAxpyAVX2(n, width, r, t, pw, py)
	default:
		gatherAxpyEach(y, table, width, rows, w)
	}
}

func scatterAxpy(table []float32, width int, rows []uint32, w, x []float32) {
	n, r, t, pw, px := len(rows), unsafe.SliceData(rows), unsafe.SliceData(table), unsafe.SliceData(w), unsafe.SliceData(x)
	switch {
	case active == AVX512 && width%16 == 0:
		scatterAxpyAVX512(n, width, r, t, pw, px)
	case active == AVX2 && width%8 == 0:
		scatterAxpyAVX2(n, width, r, t, pw, px)
	default:
		scatterAxpyEach(table, width, rows, w, x)
	}
}

func gatherDotBF16(out []float32, table []uint16, stride int, rows, next []uint32, x []float32) {
	n, width := len(rows), len(x)
	r, nx, t, px, po := unsafe.SliceData(rows), unsafe.SliceData(next), unsafe.SliceData(table), unsafe.SliceData(x), unsafe.SliceData(out)
	switch {
	case active == AVX512 && width%16 == 0 && width > 0:
		gatherDotBF16AVX512(n, width, stride, r, nx, t, px, po)
	case active == AVX2 && width%8 == 0 && width > 0:
		gatherDotBF16AVX2(n, width, stride, r, nx, t, px, po)
	default:
		gatherDotBF16Each(out, table, stride, rows, x)
	}
}

func gatherAxpyBF16(y []float32, table []uint16, stride int, rows, next []uint32, w []float32) {
	n, width := len(rows), len(y)
	r, nx, t, pw, py := unsafe.SliceData(rows), unsafe.SliceData(next), unsafe.SliceData(table), unsafe.SliceData(w), unsafe.SliceData(y)
	switch {
	case active == AVX512 && width%16 == 0:
		gatherAxpyBF16AVX512(n, width, stride, r, nx, t, pw, py)
	case active == AVX2 && width%8 == 0:
		gatherAxpyBF16AVX2(n, width, stride, r, nx, t, pw, py)
	default:
		gatherAxpyBF16Each(y, table, stride, rows, w)
	}
}
