// Package llamatest makes small random models for tests.
package llamatest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/base/llama"
)

// Config is a model of two blocks with grouped heads.
func Config() llama.Config {
	return llama.Config{Vocab: 67, Hidden: 24, Layers: 3, Heads: 4, KVHeads: 2, HeadDim: 6, FFN: 40, MaxSeq: 128, NormEps: 1e-5, RopeTheta: 10000, Tied: true}
}

// Families are Config in every family, by name; windows are shorter than the tests' texts.
func Families() map[string]llama.Config {
	of := func(f llama.Family, change func(c *llama.Config)) llama.Config {
		c := Config()
		c.Family = f
		change(&c)
		return c
	}
	return map[string]llama.Config{
		"llama":   Config(),
		"mistral": of(llama.Llama, func(c *llama.Config) { c.Window = 5 }),
		"qwen2":   of(llama.Qwen2, func(c *llama.Config) { c.Window, c.Windowed = 7, []bool{false, true, true} }),
		"qwen3":   of(llama.Qwen3, func(c *llama.Config) { c.HeadDim = 8 }),
		"gemma2": of(llama.Gemma2, func(c *llama.Config) {
			c.Window, c.Windowed, c.AttnCap, c.LogitCap, c.QueryScalar = 6, []bool{true, false, true}, 2, 3, 9
		}),
		"gpt2": of(llama.GPT2, func(c *llama.Config) { c.KVHeads, c.RopeTheta = c.Heads, 0 }),
	}
}

// Weights are named tensors; they are a llama.Source.
type Weights map[string]Tensor

// Tensor is one weight.
type Tensor struct {
	Data  []float32
	Shape []int
}

// Tensor implements llama.Source.
func (w Weights) Tensor(name string) ([]float32, []int, error) {
	t, ok := w[name]
	if !ok {
		return nil, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.Data, t.Shape, nil
}

// Random returns random weights for a configuration, the same for the same seed.
func Random(c llama.Config, seed uint64) Weights {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := Weights{}
	for _, weight := range c.Weights() {
		n := 1
		for _, d := range weight.Shape {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			if len(weight.Shape) == 1 {
				x[i] = float32(1 + 0.2*rnd.NormFloat64())
			} else {
				x[i] = float32(rnd.NormFloat64() * 1.5 / math.Sqrt(float64(weight.Shape[1])))
			}
		}
		w[weight.Name] = Tensor{x, weight.Shape}
	}
	return w
}

// Part is a linear layer's name within its block.
func Part(s llama.Site) string {
	if s >= llama.Gate {
		return "mlp." + s.String()
	}
	return "self_attn." + s.String()
}
