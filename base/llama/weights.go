package llama

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

// Source gives a model's weights in f32 by the names and with the shapes that they have in Hugging Face's models of its
// family. GPT-2's go by Llama's names: an embedding of positions is model.embed_positions.weight.
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
