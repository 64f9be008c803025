//go:build !amd64 || noasm

package kernels

func gatherDot(out, table []float32, width int, rows []uint32, x []float32) {
	gatherDotEach(out, table, width, rows, x)
}

func gatherAxpy(y, table []float32, width int, rows []uint32, w []float32) {
	gatherAxpyEach(y, table, width, rows, w)
}

func scatterAxpy(table []float32, width int, rows []uint32, w, x []float32) {
	scatterAxpyEach(table, width, rows, w, x)
}
