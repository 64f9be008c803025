package llamatest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
)

// GGUF returns a model as llama.cpp's files have it, without a tokenizer: matrices of the type given, vectors in F32.
func GGUF(c llama.Config, src llama.Source, kind gguf.Type) ([]gguf.KV, []gguf.Tensor, error) {
	var out []gguf.Tensor
	for _, name := range slices.Sorted(maps.Keys(Random(c, 1))) {
		if c.Family == llama.GPT2 && (strings.Contains(name, "k_proj") || strings.Contains(name, "v_proj")) {
			continue // behind the queries, in one tensor
		}
		x, shape, err := inOrder(c, src, name)
		if err != nil {
			return nil, nil, err
		}
		t := gguf.Tensor{Shape: shape, Type: gguf.F32, Data: x}
		if len(shape) == 2 {
			t.Type = kind
		}
		var ok bool
		if t.Name, ok = c.Family.GGUFName(name); !ok {
			return nil, nil, fmt.Errorf("%q has no name in GGUF", name)
		}
		out = append(out, t)
	}
	if c.RopeScaling != nil {
		out = append(out, gguf.Tensor{Name: "rope_freqs.weight", Shape: []int{c.HeadDim / 2}, Type: gguf.F32, Data: divisors(c)})
	}
	return metadata(c), out, nil
}

// inOrder returns a weight with its rows, and those of the weights joined with it, in llama.cpp's order.
func inOrder(c llama.Config, src llama.Source, name string) ([]float32, []int, error) {
	x, shape, err := src.Tensor(name)
	if err != nil {
		return nil, nil, err
	}
	query, key := strings.HasSuffix(name, "q_proj.weight"), strings.HasSuffix(name, "k_proj.weight")
	switch {
	case c.Family == llama.Llama && query:
		x, err = llama.Permute(x, shape, c.Heads)
	case c.Family == llama.Llama && key:
		x, err = llama.Permute(x, shape, c.KVHeads)
	case c.Family == llama.GPT2 && strings.Contains(name, "q_proj"):
		x, shape = slices.Clone(x), append([]int{3 * shape[0]}, shape[1:]...)
		for _, other := range []string{"k_proj", "v_proj"} {
			y, _, err := src.Tensor(strings.Replace(name, "q_proj", other, 1))
			if err != nil {
				return nil, nil, err
			}
			x = append(x, y...)
		}
	}
	return x, shape, err
}

// divisors of the rotary frequencies, as llama.cpp's converter writes Llama 3's scaling.
func divisors(c llama.Config) []float32 {
	s, d := c.RopeScaling, make([]float32, c.HeadDim/2)
	orig := float64(s.OriginalMax)
	for i := range d {
		wave := 2 * math.Pi * math.Pow(float64(c.RopeTheta), 2*float64(i)/float64(c.HeadDim))
		smooth := (orig/wave - float64(s.LowFreq)) / float64(s.HighFreq-s.LowFreq)
		smooth = min(1, max(0, smooth))
		d[i] = float32(1 / ((1-smooth)/float64(s.Factor) + smooth))
	}
	return d
}

func metadata(c llama.Config) []gguf.KV {
	arch := c.Family.String()
	meta := []gguf.KV{{Key: "general.architecture", Value: arch}}
	put := func(key string, v any) { meta = append(meta, gguf.KV{Key: arch + "." + key, Value: v}) }
	put("embedding_length", uint32(c.Hidden))
	put("block_count", uint32(c.Layers))
	put("attention.head_count", uint32(c.Heads))
	put("feed_forward_length", uint32(c.FFN))
	put("context_length", uint32(c.MaxSeq))
	if c.Family == llama.GPT2 {
		put("attention.layer_norm_epsilon", c.NormEps)
		return meta
	}
	put("attention.head_count_kv", uint32(c.KVHeads))
	put("attention.key_length", uint32(c.HeadDim))
	put("attention.value_length", uint32(c.HeadDim))
	put("attention.layer_norm_rms_epsilon", c.NormEps)
	put("rope.freq_base", c.RopeTheta)
	if c.Window > 0 && c.Family != llama.Qwen2 {
		put("attention.sliding_window", uint32(c.Window))
	}
	if c.Family == llama.Gemma2 {
		put("attn_logit_softcapping", c.AttnCap)
		put("final_logit_softcapping", c.LogitCap)
	}
	return meta
}
