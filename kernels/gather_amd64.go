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
