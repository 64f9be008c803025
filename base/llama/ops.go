package llama

import (
	"sync"

	"github.com/gopeft/peft/kernels"
)

// The operations of a block. Every forward writes a slice that the caller owns and keeps nothing; every backward takes
// the gradient of the forward's result and writes that of its input, given what the forward read or wrote. Rows are
// tokens.

func (w *weight) mul(p *kernels.Pool, y, x []float32, tokens int, accumulate bool) {
	switch {
	case w.forward != nil:
		kernels.MulPacked(p, y, x, tokens, w.forward, accumulate)
	case w.high:
		kernels.MulCodedHigh(p, y, x, tokens, w.codes, accumulate)
	default:
		kernels.MulCoded(p, y, x, tokens, w.codes, accumulate)
	}
	if w.bias != nil {
		kernels.AddRow(p, y, w.bias, tokens, w.n)
	}
}

func (w *weight) mulBack(p *kernels.Pool, dx, dy []float32, tokens int, accumulate bool) {
	if w.high {
		kernels.MulCodedBack(p, dx, dy, tokens, w.codes, accumulate)
		return
	}
	kernels.MulPacked(p, dx, dy, tokens, w.backward, accumulate)
}

// QKVWidth is the width of a row of queries, keys and values.
func (c *Config) QKVWidth() int { return (c.Heads + 2*c.KVHeads) * c.HeadDim }

// AttnWidth is the width of a row of attention's output.
func (c *Config) AttnWidth() int { return c.Heads * c.HeadDim }

// heads are the shapes of the block's attention.
func (b *Block) heads() kernels.Heads {
	c := &b.m.Config
	h := kernels.Heads{Heads: c.Heads, KV: c.KVHeads, Dim: c.HeadDim, Scale: float32(1 / sqrt(float64(c.HeadDim))), Cap: c.AttnCap}
	if c.QueryScalar > 0 {
		h.Scale = float32(1 / sqrt(float64(c.QueryScalar)))
	}
	if c.Windowed == nil || c.Windowed[b.Index] {
		h.Window = c.Window
	}
	return h
}

// AttnNorm writes y = norm(x): x, y: [tokens, hidden]; rstd: [tokens] for the backward, or nil.
func (b *Block) AttnNorm(y, x, rstd []float32, tokens int) {
	b.m.normRows(y, x, b.attnNorm, rstd, tokens)
}

// AttnNormBackward writes dx, or adds to it.
func (b *Block) AttnNormBackward(dx, dy, x, rstd []float32, tokens int, accumulate bool) {
	b.m.normBackward(dx, dy, x, b.attnNorm, rstd, tokens, accumulate)
}

// FFNNorm writes y = norm(x), the input of the feed-forward and of the PEER layer.
func (b *Block) FFNNorm(y, x, rstd []float32, tokens int) {
	b.m.normRows(y, x, b.ffnNorm, rstd, tokens)
}

// FFNNormBackward writes dx, or adds to it.
func (b *Block) FFNNormBackward(dx, dy, x, rstd []float32, tokens int, accumulate bool) {
	b.m.normBackward(dx, dy, x, b.ffnNorm, rstd, tokens, accumulate)
}

func (m *Model) normRows(y, x []float32, n norm, rstd []float32, tokens int) {
	if c := &m.Config; n.b != nil {
		kernels.LayerNorm(m.pool, y, x, n.w, n.b, tokens, c.Hidden, c.NormEps, rstd)
	} else {
		kernels.RMSNorm(m.pool, y, x, n.w, tokens, c.Hidden, c.NormEps, rstd)
	}
}

func (m *Model) normBackward(dx, dy, x []float32, n norm, rstd []float32, tokens int, accumulate bool) {
	if n.b != nil {
		kernels.LayerNormBackward(m.pool, dx, dy, x, n.w, rstd, tokens, m.Config.Hidden, accumulate, nil, nil)
	} else {
		kernels.RMSNormBackward(m.pool, dx, dy, x, n.w, rstd, tokens, m.Config.Hidden, accumulate, nil)
	}
}

// Project writes queries, keys and values as their weights give them: x: [tokens, hidden], qkv: [tokens, QKVWidth].
func (b *Block) Project(qkv, x []float32, tokens int) { b.qkv.mul(b.m.pool, qkv, x, tokens, false) }

// ProjectBackward writes dx from dqkv.
func (b *Block) ProjectBackward(dx, dqkv []float32, tokens int) {
	b.qkv.mulBack(b.m.pool, dx, dqkv, tokens, false)
}

// Rotate gives queries and keys their positions, in place, in families that rotate them, after their norms in families
// that have those. kept: [tokens, HeadsWidth] is for the backward, or nil.
func (b *Block) Rotate(qkv, kept []float32, l *Layout) {
	c := &b.m.Config
	if b.query != nil {
		q, kq, kk := b.split(kept, l.Tokens)
		kernels.RMSNormHeads(b.m.pool, qkv, c.QKVWidth(), l.Tokens, c.Heads, c.HeadDim, b.query, c.NormEps, kq)
		kernels.RMSNormHeads(b.m.pool, qkv[q:], c.QKVWidth(), l.Tokens, c.KVHeads, c.HeadDim, b.key, c.NormEps, kk)
	}
	if b.m.positions == nil {
		kernels.RoPE(b.m.pool, qkv, c.QKVWidth(), l.Tokens, c.Heads+c.KVHeads, c.HeadDim, l.Pos, l.cos, l.sin)
	}
}

// RotateBackward turns dqkv, the gradient of Rotate's result, into that of what it got, in place.
func (b *Block) RotateBackward(dqkv, kept []float32, l *Layout) {
	c := &b.m.Config
	if b.m.positions == nil {
		kernels.RoPEBackward(b.m.pool, dqkv, c.QKVWidth(), l.Tokens, c.Heads+c.KVHeads, c.HeadDim, l.Pos, l.cos, l.sin)
	}
	if b.query != nil {
		q, kq, kk := b.split(kept, l.Tokens)
		kernels.RMSNormHeadsBackward(b.m.pool, dqkv, c.QKVWidth(), l.Tokens, c.Heads, c.HeadDim, b.query, kq)
		kernels.RMSNormHeadsBackward(b.m.pool, dqkv[q:], c.QKVWidth(), l.Tokens, c.KVHeads, c.HeadDim, b.key, kk)
	}
}

// split returns the width of queries, and what is kept of them and of keys.
func (b *Block) split(kept []float32, tokens int) (width int, queries, keys []float32) {
	c := &b.m.Config
	if kept != nil {
		at := tokens * c.Heads * (c.HeadDim + 1)
		queries, keys = kept[:at], kept[at:]
	}
	return c.AttnWidth(), queries, keys
}

// Attention writes o: [tokens, AttnWidth] from qkv, within each sequence; lse: [tokens, heads] for the backward, or nil.
// Products are in f32, but for the backward in the model's precision.
func (b *Block) Attention(o, lse, qkv []float32, l *Layout) {
	c := &b.m.Config
	w, k := c.QKVWidth(), c.AttnWidth()
	v := k + c.KVHeads*c.HeadDim
	h := b.heads()
	if lse != nil {
		h.Precision = b.m.packed()
	}
	kernels.Attention(b.m.pool, o, c.AttnWidth(), qkv, w, qkv[k:], qkv[v:], w, l.Spans, h, lse)
}

// AttentionBackward writes dqkv, with products in the model's precision.
func (b *Block) AttentionBackward(dqkv, do, o, lse, qkv []float32, l *Layout) {
	c := &b.m.Config
	w, k := c.QKVWidth(), c.AttnWidth()
	v := k + c.KVHeads*c.HeadDim
	h := b.heads()
	h.Precision = b.m.packed()
	kernels.AttentionBackward(b.m.pool, dqkv, dqkv[k:], dqkv[v:], do, c.AttnWidth(), o, qkv, w, qkv[k:], qkv[v:], w, l.Spans, h, lse)
}

// AttnOut writes y = x + o·Woᵀ, the residual stream after attention; y may be x. With PostNorms, x is nil, y is o·Woᵀ, and
// AttnPost follows.
func (b *Block) AttnOut(y, x, o []float32, tokens int) { b.m.addTo(y, x, &b.out, o, tokens) }

// addTo writes y = x + in·wᵀ, or without x where that is nil.
func (m *Model) addTo(y, x []float32, w *weight, in []float32, tokens int) {
	if x != nil && &y[0] != &x[0] {
		copy(y, x[:tokens*m.Config.Hidden])
	}
	w.mul(m.pool, y, in, tokens, x != nil)
}

// AttnPost writes y = x + norm(own), the residual stream after attention whose own output that is, where PostNorms; y may
// be x. rstd: [tokens] is for the backward, or nil.
func (b *Block) AttnPost(y, x, own, rstd []float32, tokens int) {
	b.m.post(y, x, own, b.attnPost, rstd, tokens)
}

// AttnPostBackward writes down from dy; the gradient of x is dy itself.
func (b *Block) AttnPostBackward(down, dy, own, rstd []float32, tokens int) {
	b.m.normBackward(down, dy, own, b.attnPost, rstd, tokens, false)
}

// FFNPost is AttnPost of the feed-forward layer.
func (b *Block) FFNPost(y, x, own, rstd []float32, tokens int) {
	b.m.post(y, x, own, b.ffnPost, rstd, tokens)
}

// FFNPostBackward is AttnPostBackward of the feed-forward layer.
func (b *Block) FFNPostBackward(down, dy, own, rstd []float32, tokens int) {
	b.m.normBackward(down, dy, own, b.ffnPost, rstd, tokens, false)
}

func (m *Model) post(y, x, own []float32, n norm, rstd []float32, tokens int) {
	kernels.RMSNormAdd(m.pool, y, x, own, n.w, tokens, m.Config.Hidden, m.Config.NormEps, rstd)
}

// AttnOutBackward writes do from dy; the gradient of x is dy itself.
func (b *Block) AttnOutBackward(do, dy []float32, tokens int) {
	b.out.mulBack(b.m.pool, do, dy, tokens, false)
}

// GateUp writes gu: [tokens, UpWidth], gate and up, or up alone.
func (b *Block) GateUp(gu, x []float32, tokens int) { b.gateUp.mul(b.m.pool, gu, x, tokens, false) }

// GateUpBackward writes dx from dgu.
func (b *Block) GateUpBackward(dx, dgu []float32, tokens int) {
	b.gateUp.mulBack(b.m.pool, dx, dgu, tokens, false)
}

// Activate writes act: [tokens, ffn] = σ(gate)·up, or σ(up) where there is no gate; σ is SiLU, or GELU by tanh.
func (b *Block) Activate(act, gu []float32, tokens int) {
	switch c := &b.m.Config; {
	case c.traits().plain:
		kernels.GELUTanhRows(b.m.pool, act, gu, tokens, c.FFN)
	case c.traits().gelu:
		kernels.GeGLU(b.m.pool, act, gu, tokens, c.FFN)
	default:
		kernels.SwiGLU(b.m.pool, act, gu, tokens, c.FFN)
	}
}

// ActivateBackward writes dgu: [tokens, UpWidth] from dact; it may be gu.
func (b *Block) ActivateBackward(dgu, dact, gu []float32, tokens int) {
	switch c := &b.m.Config; {
	case c.traits().plain:
		kernels.GELUTanhRowsBackward(b.m.pool, dgu, dact, gu, tokens, c.FFN)
	case c.traits().gelu:
		kernels.GeGLUBackward(b.m.pool, dgu, dact, gu, tokens, c.FFN)
	default:
		kernels.SwiGLUBackward(b.m.pool, dgu, dact, gu, tokens, c.FFN)
	}
}

// Down writes y = x + act·Wdᵀ, the residual stream after the feed-forward layer; y may be x. With PostNorms, x is nil, y is
// act·Wdᵀ, and FFNPost follows.
func (b *Block) Down(y, x, act []float32, tokens int) { b.m.addTo(y, x, &b.down, act, tokens) }

// FFN writes what the feed-forward layer adds to the residual stream.
func (b *Block) FFN(y, act []float32, tokens int) {
	b.Down(y, nil, act, tokens)
	if b.m.Config.PostNorms() {
		b.m.normRows(y, y, b.ffnPost, nil, tokens)
	}
}

// DownBackward writes dact from dy; the gradient of x is dy itself.
func (b *Block) DownBackward(dact, dy []float32, tokens int) {
	b.down.mulBack(b.m.pool, dact, dy, tokens, false)
}

// Embed writes the embeddings of tokens, at the positions of their layout: x: [tokens, hidden].
func (m *Model) Embed(x []float32, tokens []int32, l *Layout) {
	h := m.Config.Hidden
	for i, t := range tokens {
		row := x[i*h : (i+1)*h]
		m.embedding(row, int(t))
		if m.positions != nil {
			kernels.Add(row, row, m.positions[int(l.Pos[i])*h:][:h])
		}
	}
	if m.Config.traits().scaled {
		kernels.Scale(float32(sqrt(float64(h))), x[:len(tokens)*h])
	}
}

// FinalNorm writes y = norm(x) before the head.
func (m *Model) FinalNorm(y, x, rstd []float32, tokens int) { m.normRows(y, x, m.norm, rstd, tokens) }

// FinalNormBackward writes dx.
func (m *Model) FinalNormBackward(dx, dy, x, rstd []float32, tokens int) {
	m.normBackward(dx, dy, x, m.norm, rstd, tokens, false)
}

// Logits writes logits: [rows, vocab] from final-normed rows: [rows, hidden].
func (m *Model) Logits(logits, hidden []float32, rows int) {
	m.head.mul(m.pool, logits, hidden, rows, false)
	if limit := m.Config.LogitCap; limit > 0 {
		kernels.SoftCap(m.pool, logits, rows, m.Config.Vocab, limit)
	}
}

// headRows is how many rows of logits exist at a time in HeadLoss.
const headRows = 256

// lossScratch is one HeadLoss's memory.
type lossScratch struct {
	rows          []int
	logits, x     []float32 // [headRows, vocab] and [headRows, hidden]
	targets       [headRows]int32
	weights, loss [headRows]float32
}

var lossScratches = sync.Pool{New: func() any { return new(lossScratch) }}

// HeadLoss writes each row's weighted negative log-likelihood (nats): hidden: [tokens, hidden] final-normed, targets and
// weights: [tokens]. dhidden: [tokens, hidden], unless nil, gets the gradient of the losses' sum. Rows of weight 0 cost
// nothing. Logits exist for 256 rows at a time.
func (m *Model) HeadLoss(loss, dhidden, hidden []float32, targets []int32, weights []float32) {
	h, v := m.Config.Hidden, m.Config.Vocab
	s := lossScratches.Get().(*lossScratch)
	defer lossScratches.Put(s)
	s.rows = s.rows[:0]
	for i, w := range weights {
		loss[i] = 0
		if w != 0 {
			s.rows = append(s.rows, i)
		}
	}
	if dhidden != nil {
		clear(dhidden)
	}
	rows := s.rows
	n := min(headRows, len(rows))
	if len(s.logits) < n*v || len(s.x) < n*h {
		s.logits, s.x = make([]float32, n*v), make([]float32, n*h)
		kernels.LargePages(s.logits)
	}
	logits, x, tg, wt, ls := s.logits, s.x, s.targets[:], s.weights[:], s.loss[:]
	for ; len(rows) > 0; rows = rows[n:] {
		n = min(headRows, len(rows))
		for j, r := range rows[:n] {
			copy(x[j*h:(j+1)*h], hidden[r*h:])
			tg[j], wt[j] = targets[r], weights[r]
		}
		m.head.mul(m.pool, logits, x, n, false)
		kernels.CrossEntropyCapped(m.pool, ls[:n], logits, tg[:n], wt[:n], n, v, m.Config.LogitCap, dhidden != nil)
		if dhidden != nil {
			m.head.mulBack(m.pool, x, logits, n, false)
		}
		for j, r := range rows[:n] {
			loss[r] = ls[j]
			if dhidden != nil {
				copy(dhidden[r*h:(r+1)*h], x[j*h:])
			}
		}
	}
}
