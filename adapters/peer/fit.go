package peer

import (
	"fmt"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Weights are the frozen weights that experts which depend on them have asked for; they stay in memory. One goroutine at
// a time may use it.
type Weights struct {
	model *llama.Model
	known map[place]adapters.Weight

	memory adapters.Memory
}

// NewWeights returns the weights of a model.
func NewWeights(m *llama.Model) *Weights {
	return &Weights{model: m, known: map[place]adapters.Weight{}}
}

// at returns the weight of a linear layer.
func (w *Weights) at(block int, s llama.Site) (adapters.Weight, error) {
	if k, ok := w.known[place{block, s}]; ok {
		return k, nil
	}
	v, in, out, err := w.model.Weight(block, s)
	if err != nil {
		return adapters.Weight{}, err
	}
	bias, err := w.model.Bias(block, s)
	if err != nil {
		return adapters.Weight{}, err
	}
	k := adapters.Weight{Squares: make([]float64, out), Bias: bias, Memory: &w.memory}
	for o := range out {
		for _, x := range v[o*in : (o+1)*in] {
			k.Squares[o] += float64(x) * float64(x)
		}
	}
	packed := kernels.PackNT(w.model.Pool(), v, out, in, kernels.F32)
	k.Mul = func(y, x []float32, rows int) { kernels.MulPacked(w.model.Pool(), y, x, rows, packed, false) }
	w.known[place{block, s}] = k
	return k, nil
}

// Fit brings what follows from the frozen weights, in rows of kinds that have such values, up to date with the rows; fresh
// tells that nobody trained them. Rows must be F32. Sets without such kinds stay as they are.
func (s *Set) Fit(w *Weights, fresh bool) error {
	for _, t := range s.Tables {
		k, ok := t.Kind.(adapters.Weighted)
		if !ok {
			continue
		}
		weight, err := w.at(t.Block, t.Site)
		if err != nil {
			return fmt.Errorf("peer: set %s: %w", s.Name, err)
		}
		for e := range t.Experts() {
			k.Fit(t.Rows.Row(e, nil), t.Dims, weight, fresh)
		}
	}
	return nil
}
