package tune

import (
	"math"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
)

// Adam is peer.Adam on several tables.
type Adam struct {
	Beta1, Beta2, Eps float32
	Decay             float32 // of weights
	Ratio             float32 // see Options

	step   int
	tables []*peer.Adam
}

func newAdam(o *Options, tables []*peer.Table) *Adam {
	a := &Adam{Beta1: float32(o.Beta1), Beta2: float32(o.Beta2), Eps: 1e-8, Decay: float32(o.WeightDecay), Ratio: float32(o.Ratio)}
	for _, t := range tables {
		a.tables = append(a.tables, peer.NewAdam(t))
	}
	return a
}

// update makes one step: grads[i] belongs to tables[i]; all are multiplied by scale first.
func (a *Adam) update(p *kernels.Pool, tables []*peer.Table, grads []*peer.RowGrad, lr, scale float32) {
	a.step++
	for i, g := range grads {
		if g != nil {
			a.tables[i].Update(p, tables[i], g, peer.AdamRates{Step: a.step, LR: lr, Beta1: a.Beta1, Beta2: a.Beta2, Eps: a.Eps, Decay: a.Decay, Scale: scale, Ratio: a.Ratio})
		}
	}
}

// Decay is how a learning rate falls.
type Decay uint8

// The decays.
const (
	Cosine Decay = iota // arXiv 1608.03983, without restarts
	Linear
	Constant // it does not
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
	switch s.Decay {
	case Cosine:
		left = 0.5 * (1 + math.Cos(math.Pi*x))
	case Constant:
		left = 1
	}
	return s.Peak * (s.Floor + (1-s.Floor)*left)
}
