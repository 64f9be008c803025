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

func gatherDotBF16(out []float32, table []uint16, stride int, rows, _ []uint32, x []float32) {
	gatherDotBF16Each(out, table, stride, rows, x)
}

func gatherAxpyBF16(y []float32, table []uint16, stride int, rows, _ []uint32, w []float32) {
	gatherAxpyBF16Each(y, table, stride, rows, w)
}
