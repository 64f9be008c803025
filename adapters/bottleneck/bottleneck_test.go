package bottleneck

import (
	"math"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/adaptertest"
	"github.com/gopeft/peft/kernels"
)

func TestConformance(t *testing.T) {
	for _, k := range []Kind{{Rank: 4, Act: SiLU}, {Rank: 5, Act: GELU, Serial: true}, {Rank: 1, Act: SiLU, Serial: true}} {
		t.Run(k.Name(), func(t *testing.T) { adaptertest.Run(t, k) })
	}
}

// TestReLU: finite differences do not suit its kink, so it is computed by hand.
func TestReLU(t *testing.T) {
	k := Kind{Rank: 2, Act: ReLU}
	row := []float32{1, 2 /**/, -3, 1 /* b */, 0.5, -1 /* Uᵀ */, 2 /**/, 5 /* c */, 7}
	x, y := kernels.Dense([]float32{1, 1}, 1, 2), kernels.Dense([]float32{100}, 1, 1)
	g := adapters.Group{Gates: []float32{2}, State: make([]float32, 4), Memory: new(adapters.Memory)}
	k.Forward(g, row, y, x) // D·x + b = 3.5, -3
	if want := 100 + 2*(3.5*2+7); math.Abs(float64(y.Data[0])-want) > 1e-5 {
		t.Errorf("y = %g, want %g", y.Data[0], want)
	}
	grad, dx := make([]float32, len(row)), kernels.Dense(make([]float32, 2), 1, 2)
	dy := kernels.Dense([]float32{10}, 1, 1)
	k.Backward(g, row, grad, nil, dy, x)
	k.BackwardInput(g, row, dx, dy)
	for i, want := range []float32{40, 40, 0, 0, 40, 0, 70, 0, 20} { // 2·10·2 at the neuron that is on
		if math.Abs(float64(grad[i]-want)) > 1e-4 {
			t.Errorf("gradient %v, value %d wants %g", grad, i, want)
		}
	}
	if dx.Data[0] != 40 || dx.Data[1] != 80 {
		t.Errorf("dx = %v", dx.Data)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]Kind{
		"bottleneck-r16-relu": {Rank: 16, Act: ReLU}, "bottleneck-r2-gelu-serial": {Rank: 2, Act: GELU, Serial: true},
		"bottleneck": {}, "bottleneck-r0-relu": {}, "bottleneck-r2-tanh": {}, "bottleneck-r2-relu-parallel": {}, "neck-r2-relu": {},
	} {
		k, ok := Parse(name)
		if ok != (want != Kind{}) || ok && k != want {
			t.Errorf("%s: %v", name, k)
		}
	}
}
