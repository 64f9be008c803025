package llama

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gopeft/peft/base/safetensors"
)

// FromSafetensors returns the source of a Hugging Face directory's weights.
func FromSafetensors(f *safetensors.File, c Config) Source {
	switch c.Family {
	case Gemma2:
		return gemmaSource{f}
	case GPT2:
		return gpt2Source{f}
	}
	return f
}

// gemmaSource gives norms their whole weight: Gemma's files have what it is more than 1.
type gemmaSource struct{ *safetensors.File }

func (s gemmaSource) Tensor(name string) ([]float32, []int, error) {
	x, shape, err := s.File.Tensor(name)
	if strings.HasSuffix(name, "norm.weight") {
		for i := range x {
			x[i]++
		}
	}
	return x, shape, err
}

// gpt2Source gives GPT-2's weights Llama's names and shapes: its linear layers are stored [in, out], and queries, keys and
// values in one tensor.
type gpt2Source struct{ f *safetensors.File }

// Forget lets go of the memory of what was read so far.
func (s gpt2Source) Forget() { s.f.Forget() }

var gpt2Names = map[string]string{
	"model.embed_tokens": "wte", "model.embed_positions": "wpe", "model.norm": "ln_f", "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2",
	"self_attn.q_proj": "attn.c_attn", "self_attn.k_proj": "attn.c_attn", "self_attn.v_proj": "attn.c_attn", "self_attn.o_proj": "attn.c_proj",
	"mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj",
}

// HFName returns the name in Hugging Face's files of a weight that Llama names so. GPT-2's queries, keys and values have the same
// name.
func (f Family) HFName(name string) (string, bool) {
	if f != GPT2 || name == "lm_head.weight" {
		return name, true
	}
	block, part, kind := splitName(name)
	n, ok := gpt2Names[part]
	if n += "." + kind; block >= 0 {
		n = fmt.Sprintf("h.%d.%s", block, n)
	}
	return gpt2Prefix + n, ok
}

const gpt2Prefix = "transformer."

// name returns a weight's name in the file; those of the first models have no prefix.
func (s gpt2Source) name(name string) (n, part string, err error) {
	n, ok := GPT2.HFName(name)
	if !ok {
		return "", "", fmt.Errorf("tensor %q has no name in GPT-2: %w", name, safetensors.ErrNotFound)
	}
	if _, ok := s.f.Info(n); !ok {
		n = strings.TrimPrefix(n, gpt2Prefix)
	}
	_, part, _ = splitName(name)
	return n, part, nil
}

func (s gpt2Source) Tensor(name string) ([]float32, []int, error) {
	n, part, err := s.name(name)
	if err != nil {
		return nil, nil, err
	}
	x, shape, err := s.f.Tensor(n)
	if err != nil {
		return nil, nil, err
	}
	if len(shape) == 2 && strings.Contains(part, "_proj") {
		x, shape = transpose(x, shape), []int{shape[1], shape[0]}
	}
	if site, ok := projections[part]; ok {
		return third(x, shape, int(site-Query))
	}
	return x, shape, nil
}

// Rows is File.Rows by Llama's names, for weights stored with the same shape.
func (s gpt2Source) Rows(name string) (func(dst []float32, i int), []int, error) {
	n, part, err := s.name(name)
	if err == nil && strings.Contains(part, "_proj") {
		err = errors.New("its columns stand where Llama's rows are")
	}
	if err != nil {
		return nil, nil, err
	}
	return s.f.Rows(n)
}

func transpose(x []float32, shape []int) []float32 {
	y, rows, cols := make([]float32, len(x)), shape[0], shape[1]
	for i := range rows {
		for j, v := range x[i*cols : (i+1)*cols] {
			y[j*rows+i] = v
		}
	}
	return y
}
