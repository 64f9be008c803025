package llama

import (
	"fmt"
	"math"
	"sync"
)

func sqrt(x float64) float64 { return math.Sqrt(x) }

// Seam runs beside every block's feed-forward layer.
type Seam interface {
	// Forward adds the layer's contribution to y, the residual stream, given x, the feed-forward layer's normed input; both
	// are [tokens, hidden].
	Forward(block int, y, x []float32, tokens int) error
}

// Observer is a Seam that wants to see what each feed-forward layer adds to the residual stream: [tokens, hidden].
type Observer interface {
	Seam
	ObserveFFN(block int, ffn []float32, tokens int)
}

// buffers of one forward pass. All but x, which the caller gets, serve the next one.
type buffers struct {
	x, h, qkv, o, gu, act []float32
	layout                Layout
	cached                cachedAttention
}

var spareBuffers = sync.Pool{New: func() any {
	f := new(buffers)
	f.cached.some = f.cached.run
	return f
}}

// buffers returns those of so many tokens; x is taken from spare where it has the room.
func (m *Model) buffers(spare []float32, tokens int) *buffers {
	c, f := &m.Config, spareBuffers.Get().(*buffers)
	if f.x = spare; cap(f.x) < tokens*c.Hidden {
		f.x = make([]float32, tokens*c.Hidden)
	}
	f.x = f.x[:tokens*c.Hidden]
	widths := [...]int{c.Hidden, c.QKVWidth(), c.AttnWidth(), max(c.UpWidth(), c.Hidden), c.FFN}
	for i, b := range []*[]float32{&f.h, &f.qkv, &f.o, &f.gu, &f.act} {
		if n := tokens * widths[i]; cap(*b) < n {
			*b = make([]float32, n)
		} else {
			*b = (*b)[:n]
		}
	}
	return f
}

// Forward runs a batch through all blocks and returns the final-normed rows: [tokens, hidden]. seam may be nil, which
// costs nothing. Caches of the sequences are extended when all went well.
func (m *Model) Forward(b Batch, seam Seam) ([]float32, error) { return m.ForwardIn(nil, b, seam) }

// ForwardIn is Forward with the result in x's memory, where that is enough: calls one after the other allocate nothing.
func (m *Model) ForwardIn(x []float32, b Batch, seam Seam) ([]float32, error) {
	x, err := m.forwardTo(x, b, seam, m.Config.Layers)
	if err != nil {
		return nil, err
	}
	m.FinalNorm(x, x, nil, len(b.Tokens))
	return x, nil
}

// ForwardTo runs a batch through the first blocks and returns the residual stream: [tokens, hidden].
func (m *Model) ForwardTo(b Batch, seam Seam, blocks int) ([]float32, error) {
	return m.forwardTo(nil, b, seam, blocks)
}

// ForwardToIn is ForwardTo with the result in x's memory, where that is enough.
func (m *Model) ForwardToIn(x []float32, b Batch, seam Seam, blocks int) ([]float32, error) {
	return m.forwardTo(x, b, seam, blocks)
}

func (m *Model) forwardTo(x []float32, b Batch, seam Seam, blocks int) ([]float32, error) {
	f := m.buffers(x, len(b.Tokens))
	l := &f.layout
	defer func() {
		f.x = nil
		spareBuffers.Put(f)
	}()
	if err := m.LayoutIn(l, b); err != nil {
		return nil, err
	}
	if p, ok := seam.(Passing); ok {
		pass := p.Begin()
		defer pass.End()
		seam = pass
	}
	m.Embed(f.x, b.Tokens, l)
	for _, blk := range m.Blocks[:blocks] {
		if err := blk.forward(f, b, l, seam); err != nil {
			return nil, fmt.Errorf("block %d: %w", blk.Index, err)
		}
	}
	if blocks == m.Config.Layers {
		for _, s := range b.Seqs {
			if s.Cache != nil {
				s.Cache.Len += s.Len
			}
		}
	}
	return f.x, nil
}

func (b *Block) forward(f *buffers, batch Batch, l *Layout, seam Seam) error {
	n, c := l.Tokens, &b.m.Config
	sited, _ := seam.(Sited)
	if w, ok := seam.(Watcher); ok {
		w.Watch(b.Index, f.x, n)
	}
	b.AttnNorm(f.h, f.x, nil, n)
	b.Project(f.qkv, f.h, n)
	if err := b.at(sited, f.qkv, c.QKVWidth(), f.h, n, Query, Key, Value); err != nil {
		return err
	}
	b.Rotate(f.qkv, nil, l)
	b.attend(f, batch.Seqs, l)
	if err := b.addTo(sited, Out, &b.out, b.attnPost, f.x, f.gu, f.o, n); err != nil {
		return err
	}
	b.FFNNorm(f.h, f.x, nil, n)
	if sited != nil {
		if err := sited.FFNInput(b.Index, f.h, n); err != nil {
			return err
		}
	}
	b.GateUp(f.gu, f.h, n)
	if err := b.at(sited, f.gu, c.UpWidth(), f.h, n, c.UpSites()...); err != nil {
		return err
	}
	b.Activate(f.act, f.gu, n)
	if obs, ok := seam.(Observer); ok {
		b.FFN(f.gu[:n*c.Hidden], f.act, n)
		obs.ObserveFFN(b.Index, f.gu[:n*c.Hidden], n)
	}
	if err := b.addTo(sited, Down, &b.down, b.ffnPost, f.x, f.gu, f.act, n); err != nil {
		return err
	}
	if seam == nil {
		return nil
	}
	return seam.Forward(b.Index, f.x, f.h, n)
}
