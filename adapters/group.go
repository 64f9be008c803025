package adapters

import "github.com/gopeft/peft/kernels"

// Group is one expert's work: the tokens that selected it, ascending, and with what gates. A token that selected the
// expert through two heads is there twice. Without Tokens it is all tokens in their order. Matrices may have gaps between
// their rows.
type Group struct {
	Tokens []uint32
	Gates  []float32
	State  []float32     // [Len()·Kind.State()]; the kind chooses the layout
	Pool   *kernels.Pool // of threads to compute on; nil for the caller's
	Memory *Memory       // scratch
}

// Memory is scratch for one call at a time.
type Memory [3][]float32

// Room returns a matrix with any content; each place is another matrix.
func (m *Memory) Room(place, rows, cols int) kernels.Matrix {
	n, b := rows*cols, &m[place]
	if cap(*b) < n {
		*b = make([]float32, n, n+n/4)
	}
	return kernels.Dense((*b)[:n], rows, cols)
}

// Len returns the number of (token, expert) pairs.
func (g *Group) Len() int { return len(g.Gates) }

// Token returns the row of a pair's token.
func (g *Group) Token(i int) int {
	if g.Tokens == nil {
		return i
	}
	return int(g.Tokens[i])
}

// Room returns scratch for a matrix, with any content; each place is another matrix.
func (g *Group) Room(place, rows, cols int) kernels.Matrix { return g.Memory.Room(place, rows, cols) }

// Rows returns the rows of m that belong to the pairs: m itself where they are all, otherwise a copy in that place of the
// memory.
func (g *Group) Rows(place int, m kernels.Matrix) kernels.Matrix {
	if g.Tokens == nil {
		return m.Slice(0, g.Len())
	}
	rows := g.Room(place, g.Len(), m.Cols)
	for i, t := range g.Tokens {
		copy(rows.Row(i), m.Row(int(t)))
	}
	return rows
}

// AddProduct adds a·b, and each pair's gate times c unless that is nil, to the pairs' rows of y: a: [Len(), k], b: [k,
// cols], c: [cols]. It uses that place of the memory.
func (g *Group) AddProduct(place int, y, a, b kernels.Matrix, c []float32) {
	to := y.Slice(0, min(g.Len(), y.Rows))
	if g.Tokens != nil {
		to = g.Room(place, g.Len(), y.Cols)
	}
	kernels.MulNN(g.Pool, to, a, b, g.Tokens == nil)
	for i, gate := range g.Gates {
		row := to.Row(i)
		if c != nil {
			kernels.Axpy(gate, c, row)
		}
		if g.Tokens != nil {
			sum := y.Row(g.Token(i))
			kernels.Add(sum, sum, row)
		}
	}
}

// Weigh multiplies each pair's row of m by its gate and by s.
func (g *Group) Weigh(m kernels.Matrix, s float32) {
	for i, gate := range g.Gates {
		kernels.Scale(gate*s, m.Row(i))
	}
}
