package kernels

// AddRow adds b: [dim] to every row of y: [tokens, dim].
func AddRow(p *Pool, y, b []float32, tokens, dim int) {
	addRows.run(p, tokens, rowGrain, addRow{y, b[:dim]})
}

// addRow is one call's operands.
type addRow struct{ y, b []float32 }

var addRows = keep(func(o *addRow, lo, hi int) {
	for t := lo; t < hi; t++ {
		row := o.y[t*len(o.b) : (t+1)*len(o.b)]
		Add(row, row, o.b)
	}
})
