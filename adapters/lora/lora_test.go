package lora

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
	for _, k := range []adapters.Kind{Kind{Rank: 1, Alpha: 1}, Kind{Rank: 5, Alpha: 8}, Kind{Rank: 4, Alpha: 3, Stabilised: true}, DoRA{Kind{Rank: 3, Alpha: 2}}} {
		t.Run(k.Name(), func(t *testing.T) { adaptertest.Run(t, k) })
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]adapters.Kind{
		"lora-r8-a16":       Kind{Rank: 8, Alpha: 16},
		"lora-r8-a0.5-rs":   Kind{Rank: 8, Alpha: 0.5, Stabilised: true},
		"dora-r16-a32":      DoRA{Kind{Rank: 16, Alpha: 32}},
		"lora-r8-a1e-06":    Kind{Rank: 8, Alpha: 1e-6},
		"dora-r1-a1-rs":     DoRA{Kind{Rank: 1, Alpha: 1, Stabilised: true}},
		"lora":              nil,
		"lora-r0-a1":        nil,
		"lora-r8-a-1":       nil,
		"lora-r8-aInf":      nil,
		"lora-r8-aNaN":      nil,
		"lora-r08-a1":       nil,
		"lora-8-a1":         nil,
		"nora-r8-a1":        nil,
		"lora-r99999999-a1": nil,
	} {
		k, ok := Parse(name)
		if ok != (want != nil) || k != want {
			t.Errorf("%s: %v", name, k)
		}
		if want != nil && want.Name() != name {
			t.Errorf("%v is called %s", want, want.Name())
		}
	}
}

// TestFormula computes f by hand, and takes a row to Hugging Face's layout and back.
func TestFormula(t *testing.T) {
	k := Kind{Rank: 2, Alpha: 4, Stabilised: true}
	a, b := []float32{1, 2, 3 /**/, -1, 0, 1}, []float32{1, 2 /**/, 3, 4}
	row := make([]float32, 10)
	k.Pack(row, a, b)
	a2, b2 := k.Unpack(row, adapters.Dims{In: 3, Out: 2})
	if !slices.Equal(a, a2) || !slices.Equal(b, b2) {
		t.Fatalf("there and back: %v and %v", a2, b2)
	}
	y := kernels.Dense([]float32{10, 20}, 1, 2)
	g := adapters.Group{Gates: []float32{0.5}, State: make([]float32, 4), Memory: new(adapters.Memory)}
	k.Forward(g, row, y, kernels.Dense([]float32{1, 1, 2}, 1, 3))
	h := []float64{9, 1} // A·x
	s := 4 / math.Sqrt2
	for i, want := range []float64{10 + 0.5*s*(h[0]+2*h[1]), 20 + 0.5*s*(3*h[0]+4*h[1])} {
		if math.Abs(float64(y.Data[i])-want) > 1e-4 {
			t.Errorf("y[%d] = %g, want %g", i, y.Data[i], want)
		}
	}
}

// TestDoRA: with the norms that Fit finds, a frozen layer with the adapter beside it is the product with m·(W + sBA)/‖W +
// sBA‖, row by row.
func TestDoRA(t *testing.T) {
	const in, out, rank, tokens = 7, 5, 2, 3
	rnd := rand.New(rand.NewPCG(1, 1))
	randn := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rnd.NormFloat64())
		}
		return v
	}
	k := DoRA{Kind{Rank: rank, Alpha: 3}}
	d := k.Port().Dims(in, out)
	w, a, b, x := randn(out*in), randn(rank*in), randn(out*rank), randn(tokens*in)
	weight := adapters.Weight{Memory: new(adapters.Memory), Squares: make([]float64, out), Mul: func(y, x []float32, n int) {
		kernels.MatMulNT(nil, y, x, w, n, out, in, false)
	}}
	weight.Bias = randn(out) // which Hugging Face PEFT leaves as it is
	for o := range out {
		weight.Squares[o] = float64(kernels.Dot(w[o*in:(o+1)*in], w[o*in:(o+1)*in]))
	}
	row := make([]float32, k.Width(d))
	k.Init(row, d, rnd)
	k.Fit(row, d, weight, true)
	m, n, _ := k.vectors(row, out)
	for o := range out {
		if want := math.Sqrt(weight.Squares[o]); math.Abs(float64(m[o])-want) > 1e-5 || m[o] != n[o] {
			t.Fatalf("new: m %g, n %g, want %g", m[o], n[o], want)
		}
	}
	k.Pack(row, a, b)
	copy(m, randn(out))
	k.Fit(row, d, weight, false)
	y := make([]float32, tokens*out)
	weight.Mul(y, x, tokens)
	for i := range y {
		y[i] += weight.Bias[i%out]
	}
	both := make([]float32, tokens*(in+out))
	for i := range tokens {
		copy(both[i*(in+out):], x[i*in:(i+1)*in])
		copy(both[i*(in+out)+in:], y[i*out:(i+1)*out])
	}
	g := adapters.Group{Gates: []float32{1, 1, 1}, State: make([]float32, tokens*k.State(d)), Memory: new(adapters.Memory)}
	k.Forward(g, row, kernels.Dense(y, tokens, out), kernels.Dense(both, tokens, in+out))
	for i := range tokens {
		for o := range out {
			var sum, norm float64
			for j := range in {
				v := float64(w[o*in+j])
				for r := range rank {
					v += 1.5 * float64(b[o*rank+r]) * float64(a[r*in+j])
				}
				sum += v * float64(x[i*in+j])
				norm += v * v
			}
			want := float64(m[o])*sum/math.Sqrt(norm) + float64(weight.Bias[o])
			if math.Abs(float64(y[i*out+o])-want) > 1e-4*(1+math.Abs(want)) {
				t.Errorf("y[%d, %d] = %g, want %g", i, o, y[i*out+o], want)
			}
		}
	}
}

// TestInit: A fills ±1/√in.
func TestInit(t *testing.T) {
	k := Kind{Rank: 8, Alpha: 1}
	d := adapters.Dims{In: 400, Out: 3}
	row := make([]float32, k.Width(d))
	k.Init(row, d, rand.New(rand.NewPCG(1, 2)))
	var most, sum float64
	for _, v := range row[:8*400] {
		most = max(most, math.Abs(float64(v)))
		sum += float64(v) * float64(v)
	}
	if most > 0.05 || most < 0.0499 || math.Abs(sum/(8*400)-0.05*0.05/3) > 5e-5 {
		t.Errorf("largest %g, mean square %g", most, sum/(8*400))
	}
}
