package llama

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// ErrInput reports tokens or lengths that the model cannot take.
var ErrInput = errors.New("invalid input")

// Seq is one sequence of a batch: Len rows. With a Cache its rows continue what the cache holds, and are added to it.
type Seq struct {
	Len   int
	Cache *Cache
}

// Batch is rows of tokens, the rows of one sequence after those of another.
type Batch struct {
	Tokens []int32
	Seqs   []Seq
}

// One returns a batch of a single sequence.
func One(tokens []int32, cache *Cache) Batch {
	return Batch{Tokens: tokens, Seqs: []Seq{{len(tokens), cache}}}
}

// Layout is what the operations need to know of a batch's sequences.
type Layout struct {
	Tokens   int            // rows
	Pos      []int32        // [tokens]: position in its sequence
	Spans    []kernels.Span // without caches
	cos, sin []float32
}

// Layout checks a batch and returns the positions of its rows.
func (m *Model) Layout(b Batch) (*Layout, error) {
	l := new(Layout)
	if err := m.LayoutIn(l, b); err != nil {
		return nil, err
	}
	return l, nil
}

// LayoutIn is Layout in l's memory.
func (m *Model) LayoutIn(l *Layout, b Batch) error {
	l.Tokens, l.Pos, l.Spans = len(b.Tokens), l.Pos[:0], l.Spans[:0]
	row, longest := 0, 0
	for i, s := range b.Seqs {
		past := 0
		if s.Cache != nil {
			past = s.Cache.Len
		}
		if s.Len < 1 {
			return fmt.Errorf("sequence %d has %d tokens, want at least 1: %w", i, s.Len, ErrInput)
		}
		if past+s.Len > m.Config.MaxSeq {
			return fmt.Errorf("sequence %d has %d tokens, the model's context is %d: %w", i, past+s.Len, m.Config.MaxSeq, ErrInput)
		}
		for p := range s.Len {
			l.Pos = append(l.Pos, int32(past+p))
		}
		l.Spans = append(l.Spans, kernels.Span{Q: row, Len: s.Len, KV: row})
		row += s.Len
		longest = max(longest, past+s.Len)
	}
	if row != len(b.Tokens) || row == 0 {
		return fmt.Errorf("%d tokens in sequences of %d: %w", len(b.Tokens), row, ErrInput)
	}
	for i, t := range b.Tokens {
		if t < 0 || int(t) >= m.Config.Vocab {
			return fmt.Errorf("token %d at %d is outside the vocabulary of %d; text tokenised for another model? %w", t, i, m.Config.Vocab, ErrInput)
		}
	}
	if m.positions == nil {
		l.cos, l.sin = m.tables(longest)
	}
	return nil
}

// Cache keeps one sequence's keys and values.
type Cache struct {
	Len  int         // tokens held
	k, v [][]float32 // of each block, [kernels.HeldTokens(Len), KV width]: the keys as kernels.StoreKeys lays them out; the values in rows
}

// NewCache returns an empty cache for a model.
func (m *Model) NewCache() *Cache {
	return &Cache{k: make([][]float32, m.Config.Layers), v: make([][]float32, m.Config.Layers)}
}

// Truncate forgets all but the first n tokens.
func (c *Cache) Truncate(n int) { c.Len = min(c.Len, n) }

// CopyCache returns a cache of its own of the first n tokens that c holds.
func (m *Model) CopyCache(c *Cache, n int) *Cache {
	d := m.NewCache()
	d.Len = min(n, c.Len)
	size := kernels.HeldTokens(d.Len) * m.Config.KVHeads * m.Config.HeadDim
	for i := range c.k {
		d.k[i], d.v[i] = slices.Clone(c.k[i][:size]), slices.Clone(c.v[i][:size])
	}
	return d
}

// Bytes returns the memory that the cache holds.
func (c *Cache) Bytes() int {
	n := 0
	for i := range c.k {
		n += 4 * (cap(c.k[i]) + cap(c.v[i]))
	}
	return n
}

// extend makes room for n more tokens in a block and returns its keys and values, old and new.
func (c *Cache) extend(b *Block, n int) (keys, values []float32) {
	i, want := b.Index, kernels.HeldTokens(c.Len+n)*b.m.Config.KVHeads*b.m.Config.HeadDim
	if cap(c.k[i]) < want {
		for _, x := range []*[]float32{&c.k[i], &c.v[i]} {
			y := make([]float32, want, max(want, 2*cap(*x)))
			copy(y, *x)
			*x = y
		}
	}
	c.k[i], c.v[i] = c.k[i][:want], c.v[i][:want]
	return c.k[i], c.v[i]
}
