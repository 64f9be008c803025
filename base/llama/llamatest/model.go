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
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			if len(shape) == 1 {
				x[i] = float32(1 + 0.2*rnd.NormFloat64())
			} else {
				x[i] = float32(rnd.NormFloat64() * 1.5 / math.Sqrt(float64(shape[1])))
			}
		}
		w[name] = Tensor{x, shape}
	}
	add("model.embed_tokens.weight", c.Vocab, c.Hidden)
	add("model.norm.weight", c.Hidden)
	if !c.Tied {
		add("lm_head.weight", c.Vocab, c.Hidden)
	}
	for i := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", c.Hidden)
		add(p+"post_attention_layernorm.weight", c.Hidden)
		add(p+"self_attn.q_proj.weight", c.Heads*c.HeadDim, c.Hidden)
		add(p+"self_attn.k_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.v_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.o_proj.weight", c.Hidden, c.Heads*c.HeadDim)
		add(p+"mlp.gate_proj.weight", c.FFN, c.Hidden)
		add(p+"mlp.up_proj.weight", c.FFN, c.Hidden)
		add(p+"mlp.down_proj.weight", c.Hidden, c.FFN)
	}
	return w
}
