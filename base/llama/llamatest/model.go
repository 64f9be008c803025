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
	bias := c.Family == llama.GPT2
	norms := []string{"input_layernorm", "post_attention_layernorm"}
	switch c.Family {
	case llama.Gemma2:
		norms = append(norms, "pre_feedforward_layernorm", "post_feedforward_layernorm")
	case llama.GPT2:
		add("model.norm.bias", c.Hidden)
		add("model.embed_positions.weight", c.MaxSeq, c.Hidden)
	}
	for i := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		for _, n := range norms {
			add(p+n+".weight", c.Hidden)
			if bias {
				add(p+n+".bias", c.Hidden)
			}
		}
		for _, s := range c.LinearSites() {
			_, out := c.Dims(s)
			if attn := s <= llama.Value; attn && c.Family == llama.Qwen2 || bias {
				add(p+Part(s)+".bias", out)
			}
		}
		if c.Family == llama.Qwen3 {
			add(p+"self_attn.q_norm.weight", c.HeadDim)
			add(p+"self_attn.k_norm.weight", c.HeadDim)
		}
		add(p+"self_attn.q_proj.weight", c.Heads*c.HeadDim, c.Hidden)
		add(p+"self_attn.k_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.v_proj.weight", c.KVHeads*c.HeadDim, c.Hidden)
		add(p+"self_attn.o_proj.weight", c.Hidden, c.Heads*c.HeadDim)
		if !bias {
			add(p+"mlp.gate_proj.weight", c.FFN, c.Hidden)
		}
		add(p+"mlp.up_proj.weight", c.FFN, c.Hidden)
		add(p+"mlp.down_proj.weight", c.Hidden, c.FFN)
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
