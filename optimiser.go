package peft

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
)

// Optimiser is what of a training's Adam (arXiv 1412.6980, 1711.05101) may be chosen beside the learning rate. Zero values
// mean the defaults.
type Optimiser struct {
	WarmUp      int     // steps until the learning rate's peak; default a tenth of all, at most 10; below 0: none
	Decay       string  // how the rate falls then: cosine (the default), linear or constant
	Floor       float64 // share of the peak at the end, default 0.02; below 0: none
	Ratio       float64 // of the learning rate of v to that of u, of LoRA's B to A's (LoRA+, arXiv 2402.12354); default 4 for neurons, 1 for other kinds
	Beta1       float64 // default 0.5 for neurons, 0.9 for other kinds
	Beta2       float64 // default 0.99
	WeightDecay float64
	Clip        float64 // largest norm of all gradients together, default 1; below 0: any
	InOrder     bool    // take the data in its order, epoch after epoch, instead of shuffled by the seed
}

var decays = map[string]tune.Decay{"": tune.Cosine, "cosine": tune.Cosine, "linear": tune.Linear, "constant": tune.Constant}

// check reports a decay that is unknown; tune checks the numbers.
func (o *Optimiser) check() error {
	if _, ok := decays[o.Decay]; !ok {
		return fmt.Errorf("peft: decay %q of the learning rate, want cosine, linear or constant", o.Decay)
	}
	return nil
}

// set sets the options of a training.
func (o *Optimiser) set(t *tune.Options) {
	t.WarmUp, t.Decay, t.Floor, t.Ratio, t.Beta1, t.Beta2, t.WeightDecay, t.InOrder = o.WarmUp, decays[o.Decay], o.Floor, o.Ratio, o.Beta1, o.Beta2, o.WeightDecay, o.InOrder
	if t.Clip = o.Clip; o.Clip < 0 {
		t.Clip = math.MaxFloat64
	}
}

// Defaults of Ratio and Beta1 for neurons (docs/decisions/0011-learning-rate.md).
const neuronRatio, neuronBeta1 = 4, 0.5

// forKind fills what goes by the kind of a set's experts.
func (o *Optimiser) forKind(s *peer.Set) {
	ratio, beta1 := 1.0, 0.9
	if !slices.ContainsFunc(s.Tables, func(t *peer.Table) bool { _, ok := t.Kind.(*neuron.Kind); return !ok }) {
		ratio, beta1 = neuronRatio, neuronBeta1
	}
	o.Ratio, o.Beta1 = cmp.Or(o.Ratio, ratio), cmp.Or(o.Beta1, beta1)
}
