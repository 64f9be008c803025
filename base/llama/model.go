package llama

import (
	"errors"
	"fmt"
	"sync"

	"github.com/gopeft/peft/kernels"
)

// Model is a frozen decoder. Its methods may be used from several goroutines.
type Model struct {
	Config Config
	Blocks []*Block

	pool      *kernels.Pool
	prec      kernels.Precision
	src       Source
	embedding []float32 // [vocab, hidden]
	norm      []float32 // [hidden]
	head      weight
	freq      []float64

	mu       sync.RWMutex // guards the tables
	cos, sin []float32
	packing  sync.Mutex // one PrepareBackward at a time
}

// Block is one decoder block.
type Block struct {
	Index int

	m        *Model
	attnNorm []float32 // [hidden]
	ffnNorm  []float32 // [hidden]
	qkv      weight    // [(heads+2·kv)·headDim, hidden]: query, key, value
	out      weight    // [hidden, heads·headDim]
	gateUp   weight    // [2·ffn, hidden]
	down     weight    // [hidden, ffn]
	prepared bool
}

// weight is a linear layer W: [n, k], packed for Y = X·Wᵀ and, once prepared, for dX = dY·W.
type weight struct {
	n, k     int
	forward  *kernels.Packed
	backward *kernels.Packed
}

// New loads a model: every weight is checked for its shape and for finite values, and packed for the precision. pool may
// be nil for one thread. src is kept for PrepareBackward and WithPrecision.
func New(c Config, src Source, prec kernels.Precision, pool *kernels.Pool) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Model{Config: c, pool: pool, prec: prec, src: src}
	var err error
	if m.embedding, err = load(src, "model.embed_tokens.weight", c.Vocab, c.Hidden); err != nil {
		return nil, err
	}
	if m.norm, err = load(src, "model.norm.weight", c.Hidden); err != nil {
		return nil, err
	}
	var divisors []float32
	if g, ok := src.(ggufSource); ok {
		if d, _, err := g.f.Tensor("rope_freqs.weight"); err == nil {
			if len(d) != c.HeadDim/2 {
				return nil, fmt.Errorf("rope_freqs.weight has %d values, want %d: %w", len(d), c.HeadDim/2, ErrWeights)
			}
			divisors = d
		}
	}
	m.freq = c.frequencies(divisors)
	return m, m.packAll()
}

// packAll loads the blocks, several at a time.
func (m *Model) packAll() error {
	c := m.Config
	m.Blocks = make([]*Block, c.Layers)
	errs := make([]error, c.Layers)
	m.pool.Run(c.Layers, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			m.Blocks[i], errs[i] = m.loadBlock(i)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	w, err := m.headWeight()
	if err != nil {
		return err
	}
	m.head = weight{n: c.Vocab, k: c.Hidden, forward: kernels.PackNT(m.pool, w, c.Vocab, c.Hidden, m.prec)}
	return nil
}

func (m *Model) headWeight() ([]float32, error) {
	if m.Config.Tied {
		return m.embedding, nil
	}
	return load(m.src, "lm_head.weight", m.Config.Vocab, m.Config.Hidden)
}

func (m *Model) loadBlock(i int) (*Block, error) {
	c := m.Config
	b := &Block{Index: i, m: m}
	var err error
	if b.attnNorm, err = load(m.src, blockName(i, "input_layernorm"), c.Hidden); err != nil {
		return nil, err
	}
	if b.ffnNorm, err = load(m.src, blockName(i, "post_attention_layernorm"), c.Hidden); err != nil {
		return nil, err
	}
	return b, b.each(func(w *weight, data []float32) {
		w.forward = kernels.PackNT(nil, data, w.n, w.k, m.prec)
	})
}

func blockName(i int, part string) string { return fmt.Sprintf("model.layers.%d.%s.weight", i, part) }

// each loads the block's linear layers one after the other and hands them to f, related ones joined.
func (b *Block) each(f func(w *weight, data []float32)) error {
	c, hd := b.m.Config, b.m.Config.HeadDim
	for _, g := range []struct {
		w     *weight
		k     int
		parts []string
		rows  []int
	}{
		{&b.qkv, c.Hidden, []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, []int{c.Heads * hd, c.KVHeads * hd, c.KVHeads * hd}},
		{&b.out, c.Heads * hd, []string{"self_attn.o_proj"}, []int{c.Hidden}},
		{&b.gateUp, c.Hidden, []string{"mlp.gate_proj", "mlp.up_proj"}, []int{c.FFN, c.FFN}},
		{&b.down, c.FFN, []string{"mlp.down_proj"}, []int{c.Hidden}},
	} {
		var data []float32
		for j, p := range g.parts {
			x, err := load(b.m.src, blockName(b.Index, p), g.rows[j], g.k)
			if err != nil {
				return err
			}
			if len(g.parts) == 1 {
				data = x
			} else {
				data = append(data, x...)
			}
		}
		g.w.n, g.w.k = len(data)/g.k, g.k
		f(g.w, data)
	}
	return nil
}

// PrepareBackward packs what the backward needs: the head and the blocks from the given one up. Calling it again is cheap.
func (m *Model) PrepareBackward(from int) error {
	m.packing.Lock()
	defer m.packing.Unlock()
	if m.head.backward == nil {
		w, err := m.headWeight()
		if err != nil {
			return err
		}
		m.head.backward = kernels.PackNN(m.pool, w, m.Config.Vocab, m.Config.Hidden, m.prec)
	}
	errs := make([]error, len(m.Blocks))
	m.pool.Run(len(m.Blocks), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b := m.Blocks[i]
			if i < from || b.prepared {
				continue
			}
			errs[i] = b.each(func(w *weight, data []float32) {
				w.backward = kernels.PackNN(nil, data, w.n, w.k, m.prec)
			})
			b.prepared = errs[i] == nil
		}
	})
	return errors.Join(errs...)
}

// WithPrecision returns the same model with weights packed for another precision; m itself when it has that already.
func (m *Model) WithPrecision(prec kernels.Precision) (*Model, error) {
	if prec == m.prec {
		return m, nil
	}
	n := &Model{Config: m.Config, pool: m.pool, prec: prec, src: m.src, embedding: m.embedding, norm: m.norm, freq: m.freq}
	return n, n.packAll()
}

// Precision returns the arithmetic of the model's products.
func (m *Model) Precision() kernels.Precision { return m.prec }

// Pool returns the threads the model computes on.
func (m *Model) Pool() *kernels.Pool { return m.pool }

// Bytes returns the memory of the packed weights and the embedding.
func (m *Model) Bytes() int {
	n := 4 * len(m.embedding)
	add := func(w weight) {
		for _, p := range []*kernels.Packed{w.forward, w.backward} {
			if p != nil {
				n += p.Bytes()
			}
		}
	}
	add(m.head)
	for _, b := range m.Blocks {
		add(b.qkv)
		add(b.out)
		add(b.gateUp)
		add(b.down)
	}
	return n
}

// tables returns cosine and sine for at least n positions.
func (m *Model) tables(n int) (cos, sin []float32) {
	half := m.Config.HeadDim / 2
	m.mu.RLock()
	cos, sin = m.cos, m.sin
	m.mu.RUnlock()
	if len(cos) >= n*half {
		return cos, sin
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.cos) < n*half {
		m.cos, m.sin = rotations(m.freq, max(n, 256, 2*len(m.cos)/half))
	}
	return m.cos, m.sin
}
