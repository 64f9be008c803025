package tune

import (
	"math/rand/v2"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/bottleneck"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/retrieval"
)

// at is a place for experts of a kind: always on, or in all cells.
type at struct {
	block  int
	site   llama.Site
	kind   adapters.Kind
	routed bool
}

// sited returns a set of experts at those places, with rows that are not new.
func (f *fixture) sited(t testing.TB, name string, noise float32, places ...at) *peer.Set {
	t.Helper()
	var spots []peer.Spot
	for _, p := range places {
		s := peer.Spot{Block: p.block, Site: p.site, Kind: p.kind, Dims: peer.Widths(&f.m.Config, p.site, p.kind)}
		if p.routed {
			s.Occupancy = retrieval.FullGrid(f.router.Layers[0].Cells())
		}
		spots = append(spots, s)
	}
	s, err := peer.NewSetAt(f.pool, name, f.router, spots, 7, peer.F32)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	for _, tb := range s.Tables {
		for i := range tb.Rows.F32 {
			tb.Rows.F32[i] += noise * float32(rnd.NormFloat64())
		}
	}
	return s
}

// everywhere returns a place at every linear layer of the blocks.
func everywhere(k adapters.Kind, routed bool, blocks ...int) []at {
	var all []at
	for _, b := range blocks {
		for _, s := range llama.LinearSites() {
			all = append(all, at{b, s, k, routed})
		}
	}
	return all
}

var (
	rank3 = lora.Kind{Rank: 3, Alpha: 4}
	dora3 = lora.DoRA{Kind: rank3}
	neck  = bottleneck.Kind{Rank: 3, Act: bottleneck.SiLU}
	onOut = bottleneck.Kind{Rank: 3, Act: bottleneck.SiLU, Serial: true}
)

// TestSiteGradients is TestRowGradients for every kind and site, with sets that are on and stay as they are at the same
// layers. Here too nothing is routed by what the trained experts change.
func TestSiteGradients(t *testing.T) {
	f := newFixture(t)
	beside := f.sited(t, "z", 0.2, append(everywhere(rank3, false, 0, 1), at{2, llama.Key, ia3.Output, false}, at{2, llama.Out, onOut, false}, at{2, llama.Down, ia3.Input, false})...)
	for name, places := range map[string][]at{
		"lora":                 everywhere(rank3, false, 1),
		"lora, attention":      {{0, llama.Query, rank3, false}, {0, llama.Value, rank3, false}, {1, llama.Query, rank3, false}},
		"lora, out":            {{1, llama.Out, rank3, false}},
		"lora, up":             {{1, llama.Up, rank3, false}},
		"lora, down":           {{1, llama.Down, rank3, false}, {2, llama.Key, rank3, false}},
		"lora, beside":         {{1, llama.Beside, rank3, false}},
		"ia3":                  {{1, llama.Key, ia3.Output, false}, {1, llama.Value, ia3.Output, false}, {1, llama.Down, ia3.Input, false}},
		"ia3, input alone":     {{1, llama.Down, ia3.Input, false}},
		"ia3, input and out":   {{1, llama.Out, ia3.Input, false}, {1, llama.Down, ia3.Output, false}},
		"dora":                 everywhere(dora3, false, 1),
		"bottleneck, parallel": {{1, llama.Beside, neck, false}, {2, llama.Beside, neck, false}},
		"bottleneck, serial":   {{1, llama.Out, onOut, false}, {1, llama.Down, onOut, false}},
		"bottleneck, queries":  {{1, llama.Query, neck, false}, {1, llama.Gate, onOut, false}},
		"neuron, always":       {{1, llama.Beside, neuron.SiLU, false}, {1, llama.Up, neuron.SiLU, false}},
		"lora, routed":         {{2, llama.Gate, rank3, true}, {2, llama.Up, rank3, true}, {2, llama.Down, rank3, true}},
		"lora, query, routed":  {{2, llama.Query, rank3, true}},
		"lora, out, routed":    {{2, llama.Out, rank3, true}},
		"lora, beside, routed": {{2, llama.Beside, rank3, true}},
		"ia3, routed":          {{2, llama.Up, ia3.Output, true}, {2, llama.Down, ia3.Input, true}},
		"ia3, value, routed":   {{2, llama.Value, ia3.Output, true}},
		"serial, routed":       {{2, llama.Down, onOut, true}},
		"neuron, routed":       {{2, llama.Up, neuron.SiLU, true}},
		"neuron, key, routed":  {{2, llama.Key, neuron.SiLU, true}},
		"kinds together":       {{2, llama.Beside, neuron.SiLU, true}, {2, llama.Gate, rank3, false}, {2, llama.Down, rank3, true}},
	} {
		t.Run(name, func(t *testing.T) {
			checkRowGradients(t, f, f.training(t, f.sited(t, "a", 0.1, places...), beside))
		})
	}
}

// TestSiteGradientsOfFamilies: a LoRA at every linear layer that a family has, beside a serial bottleneck that is on.
func TestSiteGradientsOfFamilies(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOf(t, c, []int{1, 2})
			var places []at
			for _, s := range c.LinearSites() {
				places = append(places, at{1, s, rank3, false})
			}
			beside := f.sited(t, "z", 0.2, at{1, llama.Out, onOut, false}, at{1, llama.Down, onOut, false})
			checkRowGradients(t, f, f.training(t, f.sited(t, "a", 0.1, places...), beside))
		})
	}
}
