package llama

import "github.com/gopeft/peft/kernels"

// fewRows is how many rows of a sequence are too few for the threads to share: such sequences are worked on side by side.
const fewRows = 16

// attend is Attention for sequences of which some have caches.
func (b *Block) attend(f *buffers, seqs []Seq, l *Layout) {
	held := false
	for _, s := range seqs {
		held = held || s.Cache != nil
	}
	if !held {
		b.Attention(f.o, nil, f.qkv, l)
		return
	}
	c := &f.cached
	c.block, c.seqs, c.o, c.qkv = b, seqs, f.o, f.qkv
	c.spans = append(c.spans[:0], l.Spans...)
	few := 0
	for _, s := range seqs {
		if s.Len < fewRows {
			few++
		}
	}
	if c.apart = few >= b.m.pool.Threads(); c.apart {
		b.m.pool.Run(len(seqs), 1, c.some)
	}
	for i, s := range seqs {
		if !c.apart || s.Len >= fewRows {
			c.one(i)
		}
	}
	*c = cachedAttention{spans: c.spans, some: c.some}
}

// cachedAttention is what one attend works on, with its part bound once so that a call allocates nothing.
type cachedAttention struct {
	block  *Block
	seqs   []Seq
	spans  []kernels.Span
	o, qkv []float32
	apart  bool // sequences of few rows have a goroutine each

	some func(lo, hi int)
}

// run does the sequences [lo, hi) that have few rows.
func (c *cachedAttention) run(lo, hi int) {
	for i := lo; i < hi; i++ {
		if c.seqs[i].Len < fewRows {
			c.one(i)
		}
	}
}

// one adds a sequence's keys and values to its cache, if it has one, and computes its rows.
func (c *cachedAttention) one(i int) {
	b, s, span := c.block, c.seqs[i], c.spans[i:i+1]
	cfg := &b.m.Config
	w, aw, kw := cfg.QKVWidth(), cfg.AttnWidth(), cfg.KVHeads*cfg.HeadDim
	if s.Cache == nil {
		kernels.Attention(b.m.pool, c.o, aw, c.qkv, w, c.qkv[aw:], c.qkv[aw+kw:], w, span, b.heads(), nil)
		return
	}
	k, v := s.Cache.extend(b, s.Len)
	own := c.qkv[span[0].Q*w:]
	kernels.StoreKeys(k, s.Cache.Len, own[aw:], w, s.Len, cfg.KVHeads, cfg.HeadDim)
	for t := range s.Len {
		copy(v[(s.Cache.Len+t)*kw:], own[t*w+aw+kw:][:kw])
	}
	span[0].KV, span[0].Past = 0, s.Cache.Len
	kernels.AttentionHeld(b.m.pool, c.o, aw, c.qkv, w, k, v, kw, span, b.heads())
}
