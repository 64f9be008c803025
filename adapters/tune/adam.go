package tune

import (
	"math"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
)

// Adam is Adam (arXiv 1412.6980) on the touched rows of tables. A row that a step did not touch keeps its values, and its
// moments decay when it is next touched as if it had had zero gradients meanwhile; bias is corrected by the number of
// all steps. So rows touched at every step move exactly as under dense Adam.
type Adam struct {
	Beta1, Beta2, Eps float32

	step   int
	tables []*adamTable
}

type adamTable struct {
	m, v []float32 // [experts, width]
	last []uint32  // [experts]: the step that touched the row last
}

func newAdam(beta1, beta2 float32, tables []*peer.Table) *Adam {
	a := &Adam{Beta1: beta1, Beta2: beta2, Eps: 1e-8}
	for _, t := range tables {
		n := len(t.Rows.F32)
		a.tables = append(a.tables, &adamTable{make([]float32, n), make([]float32, n), make([]uint32, t.Rows.Len())})
	}
	return a
}

// update makes one step: grads[i] belongs to tables[i]; all are multiplied by scale first.
func (a *Adam) update(p *kernels.Pool, tables []*peer.Table, grads []*peer.RowGrad, lr, scale float32) {
	a.step++
	c1 := float32(1 - math.Pow(float64(a.Beta1), float64(a.step)))
	c2 := float32(1 - math.Pow(float64(a.Beta2), float64(a.step)))
	for i, g := range grads {
		if g == nil {
			continue
		}
		s, w := a.tables[i], g.Width
		p.Run(len(g.Rows), 16, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				r := int(g.Rows[j])
				m, v := s.m[r*w:(r+1)*w], s.v[r*w:(r+1)*w]
				if gap := a.step - 1 - int(s.last[r]); gap > 0 && s.last[r] > 0 {
					kernels.Scale(float32(math.Pow(float64(a.Beta1), float64(gap))), m)
					kernels.Scale(float32(math.Pow(float64(a.Beta2), float64(gap))), v)
				}
				s.last[r] = uint32(a.step)
				d := g.Row(j)
				if scale != 1 {
					kernels.Scale(scale, d)
				}
				kernels.Adam(tables[i].Rows.F32[r*w:(r+1)*w], d, m, v, lr, a.Beta1, a.Beta2, a.Eps, 0, c1, c2)
			}
		})
	}
}

// Decay is how a learning rate falls.
type Decay uint8

// The decays.
const (
	Cosine Decay = iota // arXiv 1608.03983, without restarts
	Linear
)

// Schedule is the learning rate: a linear warm-up, then a decay to a share of the peak.
type Schedule struct {
	Peak   float64
	WarmUp int // steps
	Steps  int // of the whole run
	Decay  Decay
	Floor  float64 // share of Peak at the end
}

// At returns the rate of a step, counted from 0.
func (s Schedule) At(step int) float64 {
	if step < s.WarmUp {
		return s.Peak * float64(step+1) / float64(s.WarmUp+1)
	}
	span := max(1, s.Steps-s.WarmUp)
	x := min(1, float64(step-s.WarmUp)/float64(span))
	left := 1 - x
	if s.Decay == Cosine {
		left = 0.5 * (1 + math.Cos(math.Pi*x))
	}
	return s.Peak * (s.Floor + (1-s.Floor)*left)
}
