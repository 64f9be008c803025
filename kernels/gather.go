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

// GatherDotBF16 writes out[i] = table[rows[i]]·x for rows of len(x) bf16 values that begin stride values apart. It asks
// the memory for the rows in next, as many, which may be nil, while it works. Which rows come together changes no bit.
func GatherDotBF16(out []float32, table []uint16, stride int, rows, next []uint32, x []float32) {
	checkHalves(table, stride, len(x), rows)
	gatherDotBF16(out[:len(rows)], table, stride, rows, ahead(next, rows), x)
}

// GatherAxpyBF16 adds Σ w[i]·table[rows[i]] to y for rows of len(y) bf16 values that begin stride values apart. The sum is
// formed, in the order of the rows, before it is added. For next see GatherDotBF16.
func GatherAxpyBF16(y []float32, table []uint16, stride int, rows, next []uint32, w []float32) {
	checkHalves(table, stride, len(y), rows)
	gatherAxpyBF16(y, table, stride, rows, ahead(next, rows), w[:len(rows)])
}

// ahead returns as many rows to ask for as there are rows.
func ahead(next, rows []uint32) []uint32 {
	if len(next) < len(rows) {
		return rows
	}
	return next
}

func checkHalves(table []uint16, stride, width int, rows []uint32) {
	var last uint32
	for _, r := range rows {
		last = max(last, r)
	}
	if len(rows) > 0 && (width > stride || int(last)*stride+width > len(table)) {
		panic(fmt.Sprintf("kernels: %d values of row %d in a table of %d values, %d a row", width, last, len(table), stride))
	}
}

func gatherDotBF16Each(out []float32, table []uint16, stride int, rows []uint32, x []float32) {
	for i, r := range rows {
		out[i] = dotBF16(x, table[int(r)*stride:][:len(x)])
	}
}

func gatherAxpyBF16Each(y []float32, table []uint16, stride int, rows []uint32, w []float32) {
	var sum [256]float32
	for at := 0; at < len(y); at += len(sum) {
		part := y[at:min(at+len(sum), len(y))]
		s := sum[:len(part)]
		clear(s)
		for i, r := range rows {
			axpyBF16(w[i], table[int(r)*stride+at:][:len(s)], s)
		}
		add(part, part, s)
	}
}
