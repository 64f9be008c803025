package llama

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/safetensors"
	"github.com/gopeft/peft/kernels"
)

// Source gives a model's weights in f32 by their Hugging Face names, with the shapes that Hugging Face has.
type Source interface {
	Tensor(name string) (data []float32, shape []int, err error)
}

// codeSource is a Source that has some weights in codes too. A weight that it has not gives gguf.ErrUnsupported.
type codeSource interface {
	Codes(name string) (*kernels.Codes, error)
}

// rowSource is a Source that widens a weight row by row. A weight of which it cannot gives an error.
type rowSource interface {
	Rows(name string) (row func(dst []float32, i int), shape []int, err error)
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
	if heads := s.permuted(n); heads > 0 && len(shape) == 2 {
		x, err = Unpermute(x, shape, heads)
	}
	return x, shape, err
}

// Rows is File.Rows by Hugging Face's names, for weights whose rows stand in the same order.
func (s ggufSource) Rows(name string) (func(dst []float32, i int), []int, error) {
	n, ok := GGUFName(name)
	if !ok || s.permuted(n) > 0 {
		return nil, nil, fmt.Errorf("tensor %q has no rows to read one by one: %w", name, gguf.ErrNotFound)
	}
	return s.f.Rows(n)
}

// permuted returns how many heads a weight of a GGUF file has whose rows are in llama.cpp's order, 0 for others.
func (s ggufSource) permuted(name string) int {
	switch {
	case strings.HasSuffix(name, "attn_q.weight"):
		return s.c.Heads
	case strings.HasSuffix(name, "attn_k.weight"):
		return s.c.KVHeads
	}
	return 0
}

// Codes returns a weight in the codes it is stored in, its rows in Hugging Face's order.
func (s ggufSource) Codes(name string) (*kernels.Codes, error) {
	n, ok := GGUFName(name)
	if !ok {
		return nil, fmt.Errorf("tensor %q has no name in GGUF: %w", name, gguf.ErrNotFound)
	}
	c, err := s.f.Codes(n)
	heads := s.permuted(n)
	if err != nil || heads == 0 {
		return c, err
	}
	if c.N%(2*heads) != 0 {
		return nil, fmt.Errorf("%d rows for %d heads: %w", c.N, heads, ErrWeights)
	}
	read, d := c.Row, c.N/heads
	c.Row = func(i int, ds, ms []uint16, code []byte) error {
		return read(i/d*d+unpermuted(i%d, d/2), ds, ms, code)
	}
	return c, nil
}

// Permute reorders a query or key weight's rows from Hugging Face's order (a head's first half, then its second) to
// llama.cpp's (pairs side by side); Unpermute goes back. w: [heads·headDim, in].
func Permute[T any](w []T, shape []int, heads int) ([]T, error) {
	return reorder(w, shape, heads, func(i, half int) int { return i/2 + i%2*half })
}

// Unpermute is the inverse of Permute.
func Unpermute[T any](w []T, shape []int, heads int) ([]T, error) {
	return reorder(w, shape, heads, unpermuted)
}

// unpermuted is where row i of a head of 2·half rows stands in llama.cpp's order.
func unpermuted(i, half int) int { return i%half*2 + i/half }

func reorder[T any](w []T, shape []int, heads int, from func(i, half int) int) ([]T, error) {
	rows, cols := shape[0], shape[1]
	if heads < 1 || rows%(2*heads) != 0 {
		return nil, fmt.Errorf("%d rows for %d heads: %w", rows, heads, ErrWeights)
	}
	d := rows / heads
	out := make([]T, len(w))
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
	return x, finite(name, x)
}

func finite(name string, x []float32) error {
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("weight %s: element %d is %v; the file is damaged or the model diverged in training: %w", name, i, v, ErrWeights)
		}
	}
	return nil
}

// embeddings returns a function that writes one token's embedding. Where the source reads rows, they stay in the file;
// checked tells that their values were found finite already, as the head's.
func embeddings(s Source, p *kernels.Pool, vocab, hidden int, checked bool) (func(dst []float32, token int), error) {
	const name = "model.embed_tokens.weight"
	src, ok := s.(rowSource)
	if ok {
		row, shape, err := src.Rows(name)
		if err == nil && slices.Equal(shape, []int{vocab, hidden}) {
			if checked {
				return row, nil
			}
			errs := make([]error, vocab)
			p.Run(vocab, 256, func(lo, hi int) {
				x := make([]float32, hidden)
				for i := lo; i < hi; i++ {
					row(x, i)
					errs[i] = finite(fmt.Sprintf("%s, row %d", name, i), x)
				}
			})
			for _, err := range errs {
				if err != nil {
					return nil, err
				}
			}
			return row, nil
		}
	}
	x, err := load(s, name, vocab, hidden) // and the error that Rows had, if any
	return func(dst []float32, i int) { copy(dst, x[i*hidden:(i+1)*hidden]) }, err
}

// loadCodes returns a weight of joined parts in its codes, or nil where some part has none.
func loadCodes(s Source, k int, names []string, rows []int) (*kernels.Codes, error) {
	src, ok := s.(codeSource)
	if !ok {
		return nil, nil
	}
	parts := make([]*kernels.Codes, len(names))
	all := &kernels.Codes{K: k}
	for i, name := range names {
		c, err := src.Codes(name)
		if errors.Is(err, gguf.ErrUnsupported) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("weight %s: %w: %w", name, ErrWeights, err)
		}
		if c.N != rows[i] || c.K != k {
			return nil, fmt.Errorf("weight %s has shape [%d %d], the configuration wants [%d %d]: %w", name, c.N, c.K, rows[i], k, ErrWeights)
		}
		parts[i] = c
		all.N, all.Bits = all.N+c.N, max(all.Bits, c.Bits)
	}
	all.Row = func(i int, d, m []uint16, code []byte) error {
		for _, c := range parts {
			if i < c.N {
				return rowOf(c, all.Bits, i, d, m, code)
			}
			i -= c.N
		}
		return fmt.Errorf("weights %q have no such row: %w", names, ErrWeights)
	}
	return all, nil
}

// rowOf reads a row in codes of so many bits: a code of 4 bits is one of 8 bits too.
func rowOf(c *kernels.Codes, bits, i int, d, m []uint16, code []byte) error {
	if c.Bits == bits {
		return c.Row(i, d, m, code)
	}
	half := code[len(code)/2:]
	if err := c.Row(i, d, m, half); err != nil {
		return err
	}
	for b := 0; b < len(half); b += 16 { // from the front, where what is written never reaches what is still to be read
		for j, v := range [16]byte(half[b:]) {
			code[2*b+j], code[2*b+16+j] = v&15, v>>4
		}
	}
	return nil
}
