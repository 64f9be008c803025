package llama

import (
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/safetensors"
)

// Source gives a model's weights in f32 by their Hugging Face names, with the shapes that Hugging Face has.
type Source interface {
	Tensor(name string) (data []float32, shape []int, err error)
}

// FromSafetensors returns the source of a Hugging Face directory's weights.
func FromSafetensors(f *safetensors.File) Source { return f }

// FromGGUF returns the source of a GGUF file's weights.
func FromGGUF(f *gguf.File, c Config) Source { return ggufSource{f, c} }

type ggufSource struct {
	f *gguf.File
	c Config
}

var ggufNames = map[string]string{
	"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight",
}

var ggufBlock = map[string]string{
	"input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
	"self_attn.q_proj.weight": "attn_q.weight", "self_attn.k_proj.weight": "attn_k.weight", "self_attn.v_proj.weight": "attn_v.weight",
	"self_attn.o_proj.weight": "attn_output.weight",
	"mlp.gate_proj.weight":    "ffn_gate.weight", "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
}

// GGUFName returns a Hugging Face name's name in GGUF files of architecture llama.
func GGUFName(name string) (string, bool) {
	if n, ok := ggufNames[name]; ok {
		return n, true
	}
	var block int
	var rest string
	if _, err := fmt.Sscanf(name, "model.layers.%d.%s", &block, &rest); err != nil {
		return "", false
	}
	n, ok := ggufBlock[rest]
	return fmt.Sprintf("blk.%d.%s", block, n), ok
}

func (s ggufSource) Tensor(name string) ([]float32, []int, error) {
	n, ok := GGUFName(name)
	if !ok {
		return nil, nil, fmt.Errorf("tensor %q has no name in GGUF: %w", name, gguf.ErrNotFound)
	}
	x, shape, err := s.f.Tensor(n)
	if err != nil {
		return nil, nil, err
	}
	switch heads := 0; {
	case len(shape) != 2:
	case n[len(n)-len("attn_q.weight"):] == "attn_q.weight":
		heads = s.c.Heads
		x, err = Unpermute(x, shape, heads)
	case n[len(n)-len("attn_k.weight"):] == "attn_k.weight":
		heads = s.c.KVHeads
		x, err = Unpermute(x, shape, heads)
	}
	return x, shape, err
}

// Permute reorders a query or key weight's rows from Hugging Face's order (a head's first half, then its second) to
// llama.cpp's (pairs side by side); Unpermute goes back. w: [heads·headDim, in].
func Permute(w []float32, shape []int, heads int) ([]float32, error) {
	return reorder(w, shape, heads, func(i, half int) int { return i/2 + i%2*half })
}

// Unpermute is the inverse of Permute.
func Unpermute(w []float32, shape []int, heads int) ([]float32, error) {
	return reorder(w, shape, heads, func(i, half int) int { return i%half*2 + i/half })
}

func reorder(w []float32, shape []int, heads int, from func(i, half int) int) ([]float32, error) {
	rows, cols := shape[0], shape[1]
	if heads < 1 || rows%(2*heads) != 0 {
		return nil, fmt.Errorf("%d rows for %d heads: %w", rows, heads, ErrWeights)
	}
	d := rows / heads
	out := make([]float32, len(w))
	for h := range heads {
		for i := range d {
			copy(out[(h*d+i)*cols:][:cols], w[(h*d+from(i, d/2))*cols:])
		}
	}
	return out, nil
}

// load returns a weight after checking its shape and that every value is finite.
func load(s Source, name string, shape ...int) ([]float32, error) {
	x, got, err := s.Tensor(name)
	if err != nil {
		return nil, fmt.Errorf("weight %s: %w: %w", name, ErrWeights, err)
	}
	if !slices.Equal(got, shape) {
		return nil, fmt.Errorf("weight %s has shape %v, the configuration wants %v: %w", name, got, shape, ErrWeights)
	}
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("weight %s: element %d is %v; the file is damaged or the model diverged in training: %w", name, i, v, ErrWeights)
		}
	}
	return x, nil
}
