package llama

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/safetensors"
)

// Weight names one of a model's weights and gives its shape, as Hugging Face has them.
type Weight struct {
	Name  string
	Shape []int
}

// Weights lists the weights that a model of this configuration has.
func (c *Config) Weights() []Weight {
	list := []Weight{{"model.embed_tokens.weight", []int{c.Vocab, c.Hidden}}}
	for i := range c.Layers {
		add := func(part string, shape ...int) { list = append(list, Weight{blockName(i, part), shape}) }
		linear := func(part string, s Site) {
			in, out := c.Dims(s)
			add(part+s.String(), out, in)
		}
		add("input_layernorm", c.Hidden)
		for _, s := range []Site{Query, Key, Value, Out} {
			linear("self_attn.", s)
		}
		add("post_attention_layernorm", c.Hidden)
		for _, s := range []Site{Gate, Up, Down} {
			linear("mlp.", s)
		}
	}
	list = append(list, Weight{"model.norm.weight", []int{c.Hidden}})
	if !c.Tied {
		list = append(list, Weight{"lm_head.weight", []int{c.Vocab, c.Hidden}})
	}
	return list
}

// GGUF returns the metadata that ConfigFromGGUF and llama.cpp read. Rotary scaling gives ErrUnsupported.
func (c *Config) GGUF() ([]gguf.KV, error) {
	if c.RopeScaling != nil {
		return nil, fmt.Errorf("rotary scaling in GGUF: %w", ErrUnsupported)
	}
	kv := []gguf.KV{{Key: "general.architecture", Value: "llama"}}
	for _, e := range []struct {
		key string
		v   int
	}{
		{"vocab_size", c.Vocab}, {"context_length", c.MaxSeq}, {"embedding_length", c.Hidden}, {"block_count", c.Layers}, {"feed_forward_length", c.FFN},
		{"attention.head_count", c.Heads}, {"attention.head_count_kv", c.KVHeads}, {"attention.key_length", c.HeadDim}, {"attention.value_length", c.HeadDim},
		{"rope.dimension_count", c.HeadDim},
	} {
		kv = append(kv, gguf.KV{Key: "llama." + e.key, Value: uint32(e.v)})
	}
	return append(kv,
		gguf.KV{Key: "llama.rope.freq_base", Value: c.RopeTheta},
		gguf.KV{Key: "llama.attention.layer_norm_rms_epsilon", Value: c.NormEps}), nil
}

// fileTypes are llama.cpp's numbers for what most of a file's matrices are.
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}

// WriteGGUF writes a model of configuration c with the weights of src, one in memory at a time, and metadata that belongs to
// it (Config.GGUF and a tokenizer's, or what another file of the model has; its file type is replaced). Matrices are of type
// t, those whose rows Q8_0 cannot divide of F16, and vectors of F32.
func WriteGGUF(w io.Writer, c *Config, src Source, meta []gguf.KV, t gguf.Type) error {
	number, ok := fileTypes[t]
	if !ok {
		return fmt.Errorf("a model of %v, want F32, F16, BF16 or Q8_0: %w", t, ErrUnsupported)
	}
	const fileType = "general.file_type"
	meta = slices.DeleteFunc(slices.Clone(meta), func(e gguf.KV) bool { return e.Key == fileType })
	meta = slices.Insert(meta, min(1, len(meta)), gguf.KV{Key: fileType, Value: number}) // the architecture stands first
	var tensors []gguf.Tensor
	for _, weight := range c.Weights() {
		name, ok := GGUFName(weight.Name)
		if !ok {
			return fmt.Errorf("weight %s has no name in GGUF: %w", weight.Name, ErrUnsupported)
		}
		typ := t
		if len(weight.Shape) == 1 {
			typ = gguf.F32
		} else if t == gguf.Q8_0 && weight.Shape[1]%32 != 0 {
			typ = gguf.F16
		}
		heads := ggufSource{c: *c}.permuted(name)
		tensors = append(tensors, gguf.Tensor{Name: name, Shape: weight.Shape, Type: typ, Load: func() ([]float32, error) {
			x, err := load(src, weight.Name, weight.Shape...)
			if err == nil && heads > 0 {
				x, err = Permute(x, weight.Shape, heads)
			}
			return x, err
		}})
	}
	return gguf.Write(w, meta, tensors)
}

// HF returns a config.json that ConfigFromHF and transformers read, for weights of an element type of safetensors.
func (c *Config) HF(dtype string) ([]byte, error) {
	names := map[string]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
	if names[dtype] == "" {
		return nil, fmt.Errorf("element type %q is not among F32, F16, BF16: %w", dtype, ErrUnsupported)
	}
	rope := map[string]any{"rope_type": "default", "rope_theta": c.RopeTheta}
	if s := c.RopeScaling; s != nil {
		rope = map[string]any{"rope_type": "llama3", "rope_theta": c.RopeTheta, "factor": s.Factor, "low_freq_factor": s.LowFreq,
			"high_freq_factor": s.HighFreq, "original_max_position_embeddings": s.OriginalMax}
	}
	return json.MarshalIndent(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "dtype": names[dtype], "vocab_size": c.Vocab, "hidden_size": c.Hidden,
		"num_hidden_layers": c.Layers, "num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"intermediate_size": c.FFN, "max_position_embeddings": c.MaxSeq, "rms_norm_eps": c.NormEps, "hidden_act": "silu", "attention_bias": false,
		"mlp_bias": false, "tie_word_embeddings": c.Tied, "rope_theta": c.RopeTheta, "rope_parameters": rope,
	}, "", "  ")
}

// WriteSafetensors writes the weights of src for a model of configuration c, one in memory at a time, as elements of F32,
// F16 or BF16.
func WriteSafetensors(w io.Writer, c *Config, src Source, dtype string) error {
	var tensors []safetensors.Tensor
	for _, weight := range c.Weights() {
		tensors = append(tensors, safetensors.Tensor{Name: weight.Name, DType: dtype, Shape: weight.Shape,
			Load: func() ([]float32, error) { return load(src, weight.Name, weight.Shape...) }})
	}
	return safetensors.Write(w, tensors, map[string]string{"format": "pt"})
}
