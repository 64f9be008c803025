package llama

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/safetensors"
)

// Weight names one of a model's weights and gives its shape, as a Source has them.
type Weight struct {
	Name  string
	Shape []int
}

// Weights lists the weights that a model of this configuration has.
func (c *Config) Weights() []Weight {
	var list []Weight
	t := c.traits()
	add := func(name string, shape ...int) { list = append(list, Weight{name, shape}) }
	norm := func(name string) {
		add(name+".weight", c.Hidden)
		if t.layerNorm {
			add(name+".bias", c.Hidden)
		}
	}
	add("model.embed_tokens.weight", c.Vocab, c.Hidden)
	if t.learned {
		add("model.embed_positions.weight", c.MaxSeq, c.Hidden)
	}
	for i := range c.Layers {
		norm(layerName(i, "input_layernorm"))
		for _, s := range c.LinearSites() {
			if s == Out && t.headNorms {
				add(blockName(i, "self_attn.q_norm"), c.HeadDim)
				add(blockName(i, "self_attn.k_norm"), c.HeadDim)
			}
			in, out := c.Dims(s)
			add(LayerName(i, s)+".weight", out, in)
			if t.bias || t.qkvBias && s < Out {
				add(LayerName(i, s)+".bias", out)
			}
		}
		norm(layerName(i, "post_attention_layernorm"))
		if t.postNorms {
			norm(layerName(i, "pre_feedforward_layernorm"))
			norm(layerName(i, "post_feedforward_layernorm"))
		}
	}
	norm("model.norm")
	if !c.Tied {
		add("lm_head.weight", c.Vocab, c.Hidden)
	}
	return list
}

// stored is a tensor of a file: a weight, or several of the same width whose rows stand one after the other.
type stored struct {
	name    string
	shape   []int
	weights []Weight
}

// stored lists the tensors that the weights are in files whose names name gives.
func (c *Config) stored(name func(weight string) (string, bool)) ([]stored, error) {
	var list []stored
	at := map[string]int{}
	for _, w := range c.Weights() {
		n, ok := name(w.Name)
		if !ok {
			return nil, fmt.Errorf("weight %s has no name in such a file: %w", w.Name, ErrUnsupported)
		}
		i, joined := at[n]
		if !joined {
			i = len(list)
			at[n] = i
			list = append(list, stored{n, append([]int{0}, w.Shape[1:]...), nil})
		}
		list[i].shape[0] += w.Shape[0]
		list[i].weights = append(list[i].weights, w)
	}
	return list, nil
}

// load returns the tensor's values, those of [rows, columns] where it is a matrix.
func (t *stored) load(src Source) ([]float32, error) {
	var all []float32
	for _, w := range t.weights {
		x, err := load(src, w.Name, w.Shape...)
		if err != nil || len(t.weights) == 1 {
			return x, err
		}
		all = append(all, x...)
	}
	return all, nil
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
	list, err := c.stored(c.Family.GGUFName)
	if err != nil {
		return err
	}
	var tensors []gguf.Tensor
	for _, s := range list {
		typ := t
		if len(s.shape) == 1 {
			typ = gguf.F32
		} else if t == gguf.Q8_0 && s.shape[1]%32 != 0 {
			typ = gguf.F16
		}
		p, err := ggufSource{c: *c}.place(s.weights[0].Name)
		if err != nil {
			return err
		}
		tensors = append(tensors, gguf.Tensor{Name: s.name, Shape: s.shape, Type: typ, Load: func() ([]float32, error) {
			x, err := s.load(src)
			if err == nil && p.pairsHeads > 0 {
				x, err = Permute(x, s.shape, p.pairsHeads)
			}
			return x, err
		}})
	}
	if d := c.divisors(); d != nil {
		tensors = append(tensors, gguf.Tensor{Name: ropeDivisors, Shape: []int{len(d)}, Type: gguf.F32, Data: d})
	}
	return gguf.Write(w, meta, tensors)
}

// WriteSafetensors writes the weights of src for a model of configuration c, one in memory at a time, as elements of F32,
// F16 or BF16, with the names and shapes that transformers has.
func WriteSafetensors(w io.Writer, c *Config, src Source, dtype string) error {
	list, err := c.stored(c.Family.HFName)
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for _, s := range list {
		shape := s.shape
		turned := c.Family == GPT2 && len(shape) == 2 && strings.Contains(s.weights[0].Name, "_proj")
		if turned {
			shape = []int{shape[1], shape[0]}
		}
		less := c.Family == Gemma2 && strings.HasSuffix(s.name, "norm.weight")
		tensors = append(tensors, safetensors.Tensor{Name: s.name, DType: dtype, Shape: shape, Load: func() ([]float32, error) {
			x, err := s.load(src)
			switch {
			case err != nil:
			case turned:
				x = transpose(x, s.shape)
			case less: // see gemmaSource
				x = slices.Clone(x)
				for i := range x {
					x[i]--
				}
			}
			return x, err
		}})
	}
	return safetensors.Write(w, tensors, map[string]string{"format": "pt"})
}
