package llama

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

// FromGGUF returns the source of a GGUF file's weights.
func FromGGUF(f *gguf.File, c Config) Source { return ggufSource{f, c} }

type ggufSource struct {
	f *gguf.File
	c Config
}

// Forget lets go of the memory of what was read so far.
func (s ggufSource) Forget() { s.f.Forget() }

var ggufNames = map[string]string{
	"model.embed_tokens": "token_embd", "model.embed_positions": "position_embd", "model.norm": "output_norm", "lm_head": "output",
}

var ggufBlock = map[string]string{
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	"pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}

// projections are queries, keys and values. In GPT-2's files they stand in one tensor, one after the other.
var projections = map[string]Site{"self_attn.q_proj": Query, "self_attn.k_proj": Key, "self_attn.v_proj": Value}

// GGUFName returns the name in GGUF files of a Llama's weight that Hugging Face names so.
func GGUFName(name string) (string, bool) { return Llama.GGUFName(name) }

// GGUFName returns the name in GGUF files of a weight that Hugging Face names so. GPT-2's queries, keys and values have the
// same name.
func (f Family) GGUFName(name string) (string, bool) {
	block, part, kind := splitName(name)
	n, ok := ggufNames[part]
	if block >= 0 {
		n, ok = ggufBlock[part]
		if _, of := projections[part]; of && f == GPT2 {
			n = "attn_qkv"
		}
		if part == "post_attention_layernorm" && families[f].postNorms {
			n = "post_attention_norm"
		}
		n = fmt.Sprintf("blk.%d.%s", block, n)
	}
	return n + "." + kind, ok
}

// splitName takes a name apart: "model.layers.3.mlp.up_proj.weight" is block 3, "mlp.up_proj", "weight". Names outside the
// blocks have block -1.
func splitName(name string) (block int, part, kind string) {
	if at := strings.LastIndexByte(name, '.'); at >= 0 {
		name, kind = name[:at], name[at+1:]
	}
	if _, err := fmt.Sscanf(name, "model.layers.%d.%s", &block, &part); err != nil {
		return -1, name, kind
	}
	return block, part, kind
}

// place is where a weight stands in a file.
type place struct {
	name       string
	part       int // which third of the tensor's rows, -1 for all
	pairsHeads int // how many heads' rows stand in llama.cpp's order, 0 for Hugging Face's
}

func (s ggufSource) place(name string) (place, error) {
	n, ok := s.c.Family.GGUFName(name)
	if !ok {
		return place{}, fmt.Errorf("tensor %q has no name in GGUF: %w", name, gguf.ErrNotFound)
	}
	p := place{name: n, part: -1}
	_, part, kind := splitName(name)
	if site, ok := projections[part]; ok {
		if s.c.Family == GPT2 {
			p.part = int(site - Query)
		}
		if kind == "weight" {
			p.pairsHeads = s.c.PairedHeads(site)
		}
	}
	return p, nil
}

func (s ggufSource) Tensor(name string) ([]float32, []int, error) {
	p, err := s.place(name)
	if err != nil {
		return nil, nil, err
	}
	x, shape, err := s.f.Tensor(p.name)
	if err != nil {
		return nil, nil, err
	}
	if p.part >= 0 {
		x, shape, err = third(x, shape, p.part)
	} else if p.pairsHeads > 0 && len(shape) == 2 {
		x, err = Unpermute(x, shape, p.pairsHeads)
	}
	return x, shape, err
}

// third returns one of three weights whose rows stand one after the other.
func third(x []float32, shape []int, part int) ([]float32, []int, error) {
	if len(shape) == 0 || shape[0]%3 != 0 {
		return nil, nil, fmt.Errorf("%v of queries, keys and values, which three do not divide: %w", shape, ErrWeights)
	}
	n := len(x) / 3
	return x[part*n : (part+1)*n], append([]int{shape[0] / 3}, shape[1:]...), nil
}

// Rows is File.Rows by Hugging Face's names, for weights whose rows stand in the same order.
func (s ggufSource) Rows(name string) (func(dst []float32, i int), []int, error) {
	p, err := s.place(name)
	if err != nil || p.pairsHeads > 0 || p.part >= 0 {
		return nil, nil, fmt.Errorf("tensor %q has no rows to read one by one: %w", name, gguf.ErrNotFound)
	}
	return s.f.Rows(p.name)
}

// Codes returns a weight in the codes it is stored in, its rows in Hugging Face's order.
func (s ggufSource) Codes(name string) (*kernels.Codes, error) {
	p, err := s.place(name)
	if err != nil {
		return nil, err
	}
	c, err := s.f.Codes(p.name)
	if err != nil {
		return c, err
	}
	read := c.Row
	if p.part >= 0 {
		if c.N%3 != 0 {
			return nil, fmt.Errorf("%d rows of queries, keys and values, which three do not divide: %w", c.N, ErrWeights)
		}
		c.N /= 3
		from := p.part * c.N
		c.Row = func(i int, ds, ms []uint16, code []byte) error { return read(from+i, ds, ms, code) }
	}
	if heads := p.pairsHeads; heads > 0 {
		if c.N%(2*heads) != 0 {
			return nil, fmt.Errorf("%d rows for %d heads: %w", c.N, heads, ErrWeights)
		}
		d := c.N / heads
		c.Row = func(i int, ds, ms []uint16, code []byte) error {
			return read(i/d*d+unpermuted(i%d, d/2), ds, ms, code)
		}
	}
	return c, nil
}
