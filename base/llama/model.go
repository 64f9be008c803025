package llama

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

// Model is a frozen decoder. Its methods may be used from several goroutines.
type Model struct {
	Config Config
	Blocks []*Block

	pool      *kernels.Pool
	prec      kernels.Precision
	src       Source
	embedding func(dst []float32, token int)
	positions []float32 // [max sequence, hidden], of families that learn them
	norm      norm
	head      weight
	freq      []float64
	arena     *kernels.Arena // of the codes

	mu       sync.RWMutex // guards the tables
	cos, sin []float32
	packing  sync.Mutex // one PrepareBackward at a time
}

// weight is a linear layer W: [n, k], packed for Y = X·Wᵀ and, once prepared, for dX = dY·W. With codes, forward is nil
// and the product is with them, or both unpack the codes as they go; with high, backward is nil too.
type weight struct {
	n, k     int
	bias     []float32 // [n], or nil
	codes    *kernels.Coded
	high     bool // products with codes take 8 bits of X and dY
	forward  *kernels.Packed
	backward *kernels.Packed
}

// New loads a model: every weight is checked for its shape and for finite values, and packed for the precision; Stored
// becomes F32 on a machine that does not multiply codes, and Int8 BF16. pool may be nil for one thread. src is kept for PrepareBackward
// and WithPrecision.
func New(c Config, src Source, prec kernels.Precision, pool *kernels.Pool) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Model{Config: c, pool: pool, prec: available(prec), src: src, arena: new(kernels.Arena)}
	var err error
	if m.norm, err = m.loadNorm("model.norm"); err != nil {
		return nil, err
	}
	if c.traits().learned {
		if m.positions, err = load(src, "model.embed_positions.weight", c.MaxSeq, c.Hidden); err != nil {
			return nil, err
		}
	}
	m.freq = c.frequencies()
	if err := m.packAll(nil); err != nil {
		return nil, err
	}
	m.embedding, err = embeddings(src, pool, c.Vocab, c.Hidden, c.Tied)
	return m, err
}

// available returns prec, or what stands for it on a machine that does not multiply codes.
func available(prec kernels.Precision) kernels.Precision {
	switch {
	case kernels.HasVNNI():
	case prec == kernels.Stored:
		return kernels.F32
	case prec == kernels.Int8:
		return kernels.BF16
	}
	return prec
}

// packed is the precision of the weights that have no codes.
func (m *Model) packed() kernels.Precision {
	if m.prec == kernels.Int8 {
		return kernels.BF16
	}
	return m.prec
}

// Coded reports whether products are with the codes of a quantised file.
func (m *Model) Coded() bool { return m.Blocks[0].gateUp.codes != nil }

// packAll loads the blocks, several at a time, and the head. Codes are taken from the model given, if any.
func (m *Model) packAll(from *Model) error {
	c := m.Config
	m.Blocks = make([]*Block, c.Layers)
	errs := make([]error, c.Layers)
	m.pool.Run(c.Layers, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			m.Blocks[i], errs[i] = m.loadBlock(i, from)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if m.prec == kernels.Int8 && !m.Coded() {
		m.prec = kernels.BF16
	}
	return m.packHead(from)
}

func (m *Model) packHead(from *Model) error {
	c := m.Config
	m.head = weight{n: c.Vocab, k: c.Hidden}
	if from != nil {
		m.head.codes = from.head.codes
	}
	if done, err := m.head.packCodes(m, m.pool, []string{m.headName()}, []int{c.Vocab}); done || err != nil {
		return err
	}
	w, err := m.headWeight()
	if err != nil {
		return err
	}
	m.head.forward = kernels.PackNT(m.pool, w, c.Vocab, c.Hidden, m.packed())
	return nil
}

// packCodes packs a weight in its codes, where the weight has some and the model's products can do with them: as it is
// stored, or in bf16, where panels are unpacked when they are needed.
func (w *weight) packCodes(m *Model, p *kernels.Pool, names []string, rows []int) (bool, error) {
	if !kernels.HasVNNI() || m.prec == kernels.F32 || m.prec == kernels.BF16 && !kernels.HasBF16() {
		w.codes = nil
		return false, nil
	}
	if w.codes == nil {
		c, err := loadCodes(m.src, w.k, names, rows)
		if c == nil || err != nil {
			return false, err
		}
		w.codes, err = m.arena.PackCodes(p, c)
		if errors.Is(err, gguf.ErrUnsupported) { // a scale that codes cannot have
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("weights %q: %w: %w", names, ErrWeights, err)
		}
	}
	w.high = m.prec == kernels.Int8
	if m.prec == kernels.BF16 {
		w.forward = kernels.FromCodes(w.codes, false)
	}
	return true, nil
}

func (m *Model) headName() string {
	if m.Config.Tied {
		return "model.embed_tokens.weight"
	}
	return "lm_head.weight"
}

func (m *Model) headWeight() ([]float32, error) {
	return load(m.src, m.headName(), m.Config.Vocab, m.Config.Hidden)
}

// forget lets go of what was read from the source so far, so that a mapped file is not in memory whole beside its weights.
func (m *Model) forget() {
	if s, ok := m.src.(interface{ Forget() }); ok {
		s.Forget()
	}
}

// Weight returns the weight of a linear layer of a block, [out, in] as its source has it in f32, and its widths.
func (m *Model) Weight(block int, s Site) (w []float32, in, out int, err error) {
	if block < 0 || block >= m.Config.Layers || !slices.Contains(m.Config.LinearSites(), s) {
		return nil, 0, 0, fmt.Errorf("block %d, %s: no such linear layer in a model of %d blocks: %w", block, s, m.Config.Layers, ErrWeights)
	}
	in, out = m.Config.Dims(s)
	w, err = load(m.src, LayerName(block, s)+".weight", out, in)
	return w, in, out, err
}

// Bias returns what a linear layer of a block adds to its product: [out]; nil where it adds nothing.
func (m *Model) Bias(block int, s Site) ([]float32, error) {
	t, attention := m.Config.traits(), s == Query || s == Key || s == Value
	if !t.bias && !(attention && t.qkvBias) {
		return nil, nil
	}
	_, out := m.Config.Dims(s)
	return load(m.src, LayerName(block, s)+".bias", out)
}

// PrepareBackward packs what the backward needs: the head and the blocks from the given one up. Calling it again is cheap.
func (m *Model) PrepareBackward(from int) error {
	m.packing.Lock()
	defer m.packing.Unlock()
	unpacks := m.packed() == kernels.BF16 && kernels.HasBF16()
	if m.head.backward == nil && !m.head.high && unpacks && m.head.codes != nil {
		m.head.backward = kernels.FromCodes(m.head.codes, true)
	}
	if m.head.backward == nil && !m.head.high {
		w, err := m.headWeight()
		if err != nil {
			return err
		}
		m.head.backward = kernels.PackNN(m.pool, w, m.Config.Vocab, m.Config.Hidden, m.packed())
	}
	errs := make([]error, len(m.Blocks))
	m.pool.Run(len(m.Blocks), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b := m.Blocks[i]
			if i < from || b.prepared {
				continue
			}
			for _, p := range b.parts() {
				if p.high {
					continue
				}
				if unpacks && p.codes != nil {
					p.backward = kernels.FromCodes(p.codes, true)
					continue
				}
				var data []float32
				if data, errs[i] = p.load(m.src); errs[i] != nil {
					break
				}
				p.backward = kernels.PackNN(nil, data, p.n, p.k, m.packed())
			}
			b.prepared = errs[i] == nil
		}
	})
	return errors.Join(errs...)
}

// WithPrecision returns the same model with weights packed for another precision; m itself when it has that already.
func (m *Model) WithPrecision(prec kernels.Precision) (*Model, error) {
	if prec = available(prec); prec == m.prec {
		return m, nil
	}
	n := &Model{Config: m.Config, pool: m.pool, prec: prec, src: m.src, embedding: m.embedding, positions: m.positions, norm: m.norm, freq: m.freq, arena: m.arena}
	return n, n.packAll(m)
}

// Precision returns the arithmetic of the model's products.
func (m *Model) Precision() kernels.Precision { return m.prec }

// Source returns where the model's weights come from. They can be read for as long as the base is open.
func (m *Model) Source() Source { return m.src }

// Pool returns the threads the model computes on.
func (m *Model) Pool() *kernels.Pool { return m.pool }

// Bytes returns the memory of the packed weights.
func (m *Model) Bytes() int {
	n := 0
	add := func(w weight) {
		for _, p := range []*kernels.Packed{w.forward, w.backward} {
			if p != nil {
				n += p.Bytes()
			}
		}
		if w.codes != nil {
			n += w.codes.Bytes()
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
