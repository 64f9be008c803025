package peer

import (
	"slices"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// always is the memory of tables that are always on: what their groups of all tokens need.
type always struct {
	gates  []float32 // [tokens]
	state  []float32 // of all experts, one after the other
	row    []float32
	memory adapters.Memory
}

// begin prepares for so many tokens.
func (m *always) begin(a *active, tokens int) {
	m.gates = resize(m.gates, tokens)
	for i := range m.gates {
		m.gates[i] = a.scale
	}
	m.state = resize(m.state, a.Experts()*tokens*a.Kind.State(a.Dims))
	m.row = resize(m.row, a.Rows.Width)
}

// forward adds a table's contribution to y.
func (m *always) forward(p *kernels.Pool, a *active, y, x kernels.Matrix) {
	m.begin(a, y.Rows)
	for e := range a.Experts() {
		a.Kind.Forward(m.group(p, a, e), a.Rows.Row(e, m.row), y, x)
	}
}

// group is one expert's work: all tokens.
func (m *always) group(p *kernels.Pool, a *active, e int) adapters.Group {
	n := len(m.gates) * a.Kind.State(a.Dims)
	return adapters.Group{Gates: m.gates, State: m.state[e*n : (e+1)*n], Pool: p, Memory: &m.memory}
}

// ownOutput is a copy of what a linear layer gave before any set changed it, for the experts that read it.
type ownOutput struct{ out, both []float32 }

// read returns what experts of a port other than InIn read at a layer that makes y of x.
func (o *ownOutput) read(p adapters.Port, y, x kernels.Matrix) kernels.Matrix {
	switch p {
	case adapters.OutOut:
		return o.matrix(y)
	case adapters.BothOut:
		return o.beside(y, x)
	}
	return x
}

// keep copies y, and x beside it where both is wanted.
func (o *ownOutput) keep(y, x kernels.Matrix, both bool) {
	o.out = resize(o.out, y.Rows*y.Cols)
	own := o.matrix(y)
	for i := range y.Rows {
		copy(own.Row(i), y.Row(i))
	}
	if !both {
		return
	}
	o.both = resize(o.both, y.Rows*(x.Cols+y.Cols))
	w := o.beside(y, x)
	for i := range y.Rows {
		copy(w.Row(i), x.Row(i))
		copy(w.Row(i)[x.Cols:], y.Row(i))
	}
}

// matrix returns the copy of a y of that shape.
func (o *ownOutput) matrix(y kernels.Matrix) kernels.Matrix {
	return kernels.Dense(o.out, y.Rows, y.Cols)
}

// beside returns the copies of x and y.
func (o *ownOutput) beside(y, x kernels.Matrix) kernels.Matrix {
	return kernels.Dense(o.both, y.Rows, x.Cols+y.Cols)
}

// trainAlways is a table that is always on, with what its backward needs.
type trainAlways struct {
	*active
	learns bool // whether its set is the trained one
	off    bool // whether it was off in the last forward
	memory always
	acc    []float32 // [tokens, Out] of a capped table, and the gradient that its cap leaves
	shares []float32 // [tokens] what the cap left
}

// forwardAlways adds the contributions of the tables that are always on.
func (b *bank) forwardAlways(y kernels.Matrix) {
	p := b.layer.pool
	for i := range b.always {
		a := &b.always[i]
		if a.off = slices.Contains(b.layer.off, a.set); a.off {
			continue
		}
		if a.Cap == 0 {
			a.memory.forward(p, a.active, y, b.x)
			continue
		}
		a.acc, a.shares = resize(a.acc, y.Rows*y.Cols), resize(a.shares, y.Rows)
		clear(a.acc)
		acc := kernels.Dense(a.acc, y.Rows, y.Cols)
		a.memory.forward(p, a.active, acc, b.x)
		a.limitAll(a.acc, b.norms, a.shares)
		for t := range y.Rows {
			kernels.Add(y.Row(t), y.Row(t), acc.Row(t))
		}
	}
}

// backwardAlways returns the gradient of the trained rows that are always on, nil when there are none, and leaves what
// alwaysInput needs.
func (b *bank) backwardAlways(dy kernels.Matrix) *RowGrad {
	var grad *RowGrad
	for i := range b.always {
		a := &b.always[i]
		if a.off {
			continue
		}
		dy := a.uncapped(dy)
		if a.learns {
			grad = &b.grad
			grad.Width, grad.Rows = a.Rows.Width, grad.Rows[:0]
			grad.Values = resize(grad.Values, a.Experts()*a.Rows.Width)
			clear(grad.Values)
		}
		for e := range a.Experts() {
			var g []float32
			if a.learns {
				grad.Rows = append(grad.Rows, uint32(e))
				g = grad.Row(e)
			}
			a.Kind.Backward(a.memory.group(b.layer.pool, a.active, e), a.Rows.Row(e, a.memory.row), g, nil, dy, b.x)
		}
	}
	if grad != nil {
		return b.unfrozen()
	}
	return nil
}

// alwaysInput adds to dx the gradient with respect to what the tables that are always on read.
func (b *bank) alwaysInput(dx, dy kernels.Matrix) {
	for i := range b.always {
		a := &b.always[i]
		if a.off {
			continue
		}
		dy := a.uncapped(dy)
		for e := range a.Experts() {
			a.Kind.BackwardInput(a.memory.group(b.layer.pool, a.active, e), a.Rows.Row(e, a.memory.row), dx, dy)
		}
	}
}

// uncapped returns the gradient with respect to what the table contributed before its cap, which counts as constant.
func (a *trainAlways) uncapped(dy kernels.Matrix) kernels.Matrix {
	if a.Cap == 0 {
		return dy
	}
	return shared(a.acc, dy, a.shares)
}
