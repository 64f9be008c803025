package kernels

import "fmt"

// GatherDot writes out[i] = table[rows[i]]·x; table: [·, width]. Which rows come together changes no bit of a result.
func GatherDot(out, table []float32, width int, rows []uint32, x []float32) {
	n := len(rows)
	checkGather(table, width, rows)
	gatherDot(out[:n], table, width, rows, x[:width])
}

// GatherAxpy adds w[i]·table[rows[i]] to y for each i in turn; table: [·, width]. It is the gradient of GatherDot with
// respect to x.
func GatherAxpy(y, table []float32, width int, rows []uint32, w []float32) {
	checkGather(table, width, rows)
	gatherAxpy(y[:width], table, width, rows, w[:len(rows)])
}

// ScatterAxpy adds w[i]·x to table[rows[i]] for each i in turn: the gradient of GatherDot with respect to the table. A row
// may be named more than once.
func ScatterAxpy(table []float32, width int, rows []uint32, w, x []float32) {
	checkGather(table, width, rows)
	scatterAxpy(table, width, rows, w[:len(rows)], x[:width])
}

// checkGather panics when a row is outside the table: assembly would not notice.
func checkGather(table []float32, width int, rows []uint32) {
	var last uint32
	for _, r := range rows {
		last = max(last, r)
	}
	if len(rows) > 0 && (width < 1 || (int(last)+1)*width > len(table)) {
		panic(fmt.Sprintf("kernels: row %d of width %d in a table of %d values", last, width, len(table)))
	}
}

func gatherDotEach(out, table []float32, width int, rows []uint32, x []float32) {
	for i, r := range rows {
		out[i] = dot(x, table[int(r)*width:][:width])
	}
}

func gatherAxpyEach(y, table []float32, width int, rows []uint32, w []float32) {
	for i, r := range rows {
		axpy(w[i], table[int(r)*width:][:width], y)
	}
}

func scatterAxpyEach(table []float32, width int, rows []uint32, w, x []float32) {
	for i, r := range rows {
		axpy(w[i], x, table[int(r)*width:][:width])
	}
}
