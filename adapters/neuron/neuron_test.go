package neuron

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/adaptertest"
	"github.com/gopeft/peft/kernels"
)

func TestConformance(t *testing.T) {
	for _, k := range []adapters.Kind{SiLU, GELU, Value} {
		t.Run(k.Name(), func(t *testing.T) { adaptertest.Run(t, k) })
	}
}

// TestFormula computes one neuron by hand.
func TestFormula(t *testing.T) {
	x, row := []float32{1, -2}, []float32{0.5, -0.25, 3, -1} // u·x = 1
	for _, c := range []struct {
		kind *Kind
		act  float64
	}{{SiLU, 1 / (1 + math.Exp(-1))}, {GELU, 0.5 * (1 + math.Erf(1/math.Sqrt2))}} {
		y := []float32{10, 10}
		g := adapters.Group{Tokens: []uint32{0}, Gates: []float32{2}, State: make([]float32, 2)}
		c.kind.Forward(g, row, kernels.Dense(y, 1, 2), kernels.Dense(x, 1, 2))
		for i, v := range []float64{3, -1} {
			if want := 10 + 2*c.act*v; math.Abs(float64(y[i])-want) > 1e-5 {
				t.Errorf("%s: y[%d] = %g, want %g", c.kind.Name(), i, y[i], want)
			}
		}
	}
}

func TestInit(t *testing.T) {
	const hidden = 4096
	row := make([]float32, 2*hidden)
	for i := range row {
		row[i] = 9
	}
	SiLU.Init(row, adapters.Dims{In: hidden, Out: hidden}, rand.New(rand.NewPCG(1, 2)))
	var sq float64
	for i, v := range row {
		if i >= hidden && v != 0 {
			t.Fatalf("v[%d] = %g", i-hidden, v)
		}
		sq += float64(v) * float64(v)
	}
	if sq < 0.9 || sq > 1.1 {
		t.Errorf("‖u‖² = %g, want about 1", sq)
	}
}

// TestAim: u answers the mean with 1, and a mean that says nothing, or is no number, leaves u as it was drawn.
func TestAim(t *testing.T) {
	d := adapters.Dims{In: 4, Out: 2}
	drawn := []float32{1, 0, 0, 1, 0, 0}
	for _, c := range []struct{ mean, want []float32 }{
		{[]float32{0, 2, 0, 0}, []float32{0.3, 0.5, 0, 0.3, 0, 0}},
		{[]float32{0, 0.5, 0, 0}, drawn},
		{[]float32{0, 3e38, 0, 0}, drawn},
		{[]float32{0, float32(math.NaN()), 0, 0}, drawn},
	} {
		row := slices.Clone(drawn)
		if SiLU.Aim(row, c.mean, d); !slices.Equal(row, c.want) {
			t.Errorf("aimed at %v: %v, want %v", c.mean, row, c.want)
		}
	}
}
