package peer

import (
	"math"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// RowGrad is the gradient of a table's rows that were touched; all other rows' is zero.
type RowGrad struct {
	Width  int
	Rows   []uint32  // ascending
	Values []float32 // [len(Rows), Width]
}

// Row returns the gradient of row Rows[i].
func (g *RowGrad) Row(i int) []float32 { return g.Values[i*g.Width : (i+1)*g.Width] }

// SquaredNorm returns the sum of the squares of all values, always summed in the same order.
func (g *RowGrad) SquaredNorm() float64 {
	var sum float64
	for i := range g.Rows {
		sum += float64(kernels.Dot(g.Row(i), g.Row(i)))
	}
	return sum
}

// Set makes g a copy of o.
func (g *RowGrad) Set(o *RowGrad) {
	g.Width, g.Rows, g.Values = o.Width, append(g.Rows[:0], o.Rows...), append(g.Values[:0], o.Values...)
}

// Add adds the gradient of the same table's rows from other tokens.
func (g *RowGrad) Add(o *RowGrad) {
	if slices.Equal(g.Rows, o.Rows) {
		kernels.Add(g.Values, g.Values, o.Values)
		return
	}
	// From the back, because there is room behind: each of g's rows moves up by as many as o has below it alone.
	both := 0
	for i, j := 0, 0; i < len(g.Rows) && j < len(o.Rows); {
		switch a, b := g.Rows[i], o.Rows[j]; {
		case a < b:
			i++
		case b < a:
			j++
		default:
			both, i, j = both+1, i+1, j+1
		}
	}
	i, j, n, w := len(g.Rows)-1, len(o.Rows)-1, len(g.Rows)+len(o.Rows)-both, o.Width
	g.Width, g.Rows, g.Values = w, slices.Grow(g.Rows, n-len(g.Rows))[:n], slices.Grow(g.Values, n*w-len(g.Values))[:n*w]
	for n--; j >= 0; n-- {
		switch {
		case i < 0 || g.Rows[i] < o.Rows[j]:
			g.Rows[n] = o.Rows[j]
			copy(g.Row(n), o.Row(j))
			j--
		case o.Rows[j] < g.Rows[i]:
			g.Rows[n] = g.Rows[i]
			copy(g.Row(n), g.Row(i))
			i--
		default:
			g.Rows[n] = g.Rows[i]
			kernels.Add(g.Row(n), g.Row(i), o.Row(j))
			i, j = i-1, j-1
		}
	}
}

// RowNorm returns the Euclidean norm of the gradients of several layers together, summed in the order given.
func RowNorm(grads ...*RowGrad) float64 {
	var sum float64
	for _, g := range grads {
		if g != nil {
			sum += g.SquaredNorm()
		}
	}
	return math.Sqrt(sum)
}
