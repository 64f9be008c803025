package peer

import (
	"math"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Adam is Adam (arXiv 1412.6980) on the touched rows of one table. A row that a step did not touch keeps its values, and its
// moments decay when it is next touched as if it had had zero gradients meanwhile; bias is corrected by the number of
// all steps. So rows touched at every step move exactly as under dense Adam.
type Adam struct {
	M, V []float32 // [experts, width] moments
	Last []uint32  // [experts] the step that touched the row last; 0 for none

	// What one Update works on, and its function bound once, so that a step allocates nothing.
	table   *Table
	grad    *RowGrad
	rates   AdamRates
	correct [2]float32 // 1 − βᵗ of either moment
	part    func(lo, hi int)
}

// AdamRates are what one step of Adam goes by.
type AdamRates struct {
	Step                  int // counted from 1
	LR, Beta1, Beta2, Eps float32
	Scale                 float32 // that gradients are multiplied by first
	Decay                 float32 // of weights, decoupled (arXiv 1711.05101): at each step they shrink by LR·Decay
	Ratio                 float32 // what LR is multiplied by for what writes in rows of an adapters.Writing kind; 0 means 1
}

// NewAdam returns the state before the first step for a table whose rows are F32.
func NewAdam(t *Table) *Adam {
	n := len(t.Rows.F32)
	return &Adam{M: make([]float32, n), V: make([]float32, n), Last: make([]uint32, t.Rows.Len())}
}

// Update makes one step with the table's gradient, which it may change.
func (a *Adam) Update(p *kernels.Pool, t *Table, g *RowGrad, o AdamRates) {
	c1 := float32(1 - math.Pow(float64(o.Beta1), float64(o.Step)))
	c2 := float32(1 - math.Pow(float64(o.Beta2), float64(o.Step)))
	if a.part == nil {
		a.part = a.rows
	}
	a.table, a.grad, a.rates, a.correct = t, g, o, [2]float32{c1, c2}
	p.Run(len(g.Rows), 16, a.part)
	a.table, a.grad = nil, nil
}

// rows updates those of the gradient's rows lo to hi.
func (a *Adam) rows(lo, hi int) {
	g, o, w := a.grad, a.rates, a.grad.Width
	from, to := 0, 0 // what writes
	if k, ok := a.table.Kind.(adapters.Writing); ok && o.Ratio != 0 && o.Ratio != 1 {
		from, to = k.Writes(a.table.Dims)
	}
	parts := [...]struct {
		from, to int
		lr       float32
	}{{0, from, o.LR}, {from, to, o.LR * o.Ratio}, {to, w, o.LR}}
	for j := lo; j < hi; j++ {
		r := int(g.Rows[j])
		m, v := a.M[r*w:(r+1)*w], a.V[r*w:(r+1)*w]
		if gap := o.Step - 1 - int(a.Last[r]); gap > 0 && a.Last[r] > 0 {
			kernels.Scale(float32(math.Pow(float64(o.Beta1), float64(gap))), m)
			kernels.Scale(float32(math.Pow(float64(o.Beta2), float64(gap))), v)
		}
		a.Last[r] = uint32(o.Step)
		d := g.Row(j)
		if o.Scale != 1 {
			kernels.Scale(o.Scale, d)
		}
		row := a.table.Rows.F32[r*w : (r+1)*w]
		for _, p := range parts {
			if i, j := p.from, p.to; i < j {
				kernels.Adam(row[i:j], d[i:j], m[i:j], v[i:j], p.lr, o.Beta1, o.Beta2, o.Eps, o.Decay, a.correct[0], a.correct[1])
			}
		}
	}
}
