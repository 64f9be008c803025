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

// weight is a linear layer W: [n, k], packed for Y = X·Wᵀ, in floats or in the codes it is stored in, and, once prepared,
// for dX = dY·W.
type weight struct {
	n, k     int
	coded    *kernels.Coded
	forward  *kernels.Packed
	backward *kernels.Packed
}

// New loads a model: every weight is checked for its shape and for finite values, and packed for the precision; Stored
// becomes F32 on a machine that does not multiply codes. pool may be nil for one thread. src is kept for PrepareBackward
// and WithPrecision.
func New(c Config, src Source, prec kernels.Precision, pool *kernels.Pool) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if prec == kernels.Stored && !kernels.HasVNNI() {
		prec = kernels.F32
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
	return m.packHead()
}

func (m *Model) packHead() error {
	c := m.Config
	m.head = weight{n: c.Vocab, k: c.Hidden}
	name := "lm_head.weight"
	if c.Tied {
		name = "model.embed_tokens.weight"
	}
	if done, err := m.head.packCodes(m, m.pool, []string{name}, []int{c.Vocab}); done || err != nil {
		return err
	}
	w, err := m.headWeight()
	if err != nil {
		return err
	}
	m.head.forward = kernels.PackNT(m.pool, w, c.Vocab, c.Hidden, m.prec)
	return nil
}

// packCodes packs a weight in its codes, where the model is to be multiplied as it is stored and the weight has codes.
func (w *weight) packCodes(m *Model, p *kernels.Pool, names []string, rows []int) (bool, error) {
	if m.prec != kernels.Stored {
		return false, nil
	}
	c, err := loadCodes(m.src, w.k, names, rows)
	if c == nil || err != nil {
		return false, err
	}
	w.coded, err = kernels.PackCodes(p, c)
	return true, err
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
	for _, p := range b.parts() {
		p.n = 0
		for _, r := range p.rows {
			p.n += r
		}
		done, err := p.packCodes(m, nil, p.names, p.rows)
		if err != nil {
			return nil, err
		}
		if done {
			continue
		}
		data, err := p.load(m.src)
		if err != nil {
			return nil, err
		}
		p.forward = kernels.PackNT(nil, data, p.n, p.k, m.prec)
	}
	return b, nil
}

func blockName(i int, part string) string { return fmt.Sprintf("model.layers.%d.%s.weight", i, part) }

// part is one of a block's linear layers, made of related weights joined.
type part struct {
	*weight
	names []string
	rows  []int // of each
}

func (b *Block) parts() []part {
	c, hd := b.m.Config, b.m.Config.HeadDim
	b.qkv.k, b.out.k, b.gateUp.k, b.down.k = c.Hidden, c.Heads*hd, c.Hidden, c.FFN
	name := func(parts ...string) []string {
		for i, p := range parts {
			parts[i] = blockName(b.Index, p)
		}
		return parts
	}
	return []part{
		{&b.qkv, name("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), []int{c.Heads * hd, c.KVHeads * hd, c.KVHeads * hd}},
		{&b.out, name("self_attn.o_proj"), []int{c.Hidden}},
		{&b.gateUp, name("mlp.gate_proj", "mlp.up_proj"), []int{c.FFN, c.FFN}},
		{&b.down, name("mlp.down_proj"), []int{c.Hidden}},
	}
}

// load returns the layer's weight [n, k].
func (p *part) load(src Source) ([]float32, error) {
	var data []float32
	for i, name := range p.names {
		x, err := load(src, name, p.rows[i], p.k)
		if err != nil {
			return nil, err
		}
		if len(p.names) == 1 {
			return x, nil
		}
		data = append(data, x...)
	}
	return data, nil
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
			for _, p := range b.parts() {
				var data []float32
				if data, errs[i] = p.load(m.src); errs[i] != nil {
					break
				}
				p.backward = kernels.PackNN(nil, data, p.n, p.k, m.prec)
			}
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
		if w.coded != nil {
			n += w.coded.Bytes()
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
