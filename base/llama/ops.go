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

func (c *Config) heads() kernels.Heads {
	return kernels.Heads{Heads: c.Heads, KV: c.KVHeads, Dim: c.HeadDim, Scale: float32(1 / sqrt(float64(c.HeadDim)))}
}

// AttnNorm writes y = RMSNorm(x): x, y: [tokens, hidden]; rstd: [tokens] for the backward, or nil.
func (b *Block) AttnNorm(y, x, rstd []float32, tokens int) {
	b.m.rmsNorm(y, x, b.attnNorm, rstd, tokens)
}

// AttnNormBackward writes dx, or adds to it.
func (b *Block) AttnNormBackward(dx, dy, x, rstd []float32, tokens int, accumulate bool) {
	b.m.rmsNormBackward(dx, dy, x, b.attnNorm, rstd, tokens, accumulate)
}

// FFNNorm writes y = RMSNorm(x), the input of the feed-forward and of the PEER layer.
func (b *Block) FFNNorm(y, x, rstd []float32, tokens int) { b.m.rmsNorm(y, x, b.ffnNorm, rstd, tokens) }

// FFNNormBackward writes dx, or adds to it.
func (b *Block) FFNNormBackward(dx, dy, x, rstd []float32, tokens int, accumulate bool) {
	b.m.rmsNormBackward(dx, dy, x, b.ffnNorm, rstd, tokens, accumulate)
}

func (m *Model) rmsNorm(y, x, w, rstd []float32, tokens int) {
	kernels.RMSNorm(m.pool, y, x, w, tokens, m.Config.Hidden, m.Config.NormEps, rstd)
}

func (m *Model) rmsNormBackward(dx, dy, x, w, rstd []float32, tokens int, accumulate bool) {
	kernels.RMSNormBackward(m.pool, dx, dy, x, w, rstd, tokens, m.Config.Hidden, accumulate, nil)
}

// Project writes queries, keys and values as their weights give them: x: [tokens, hidden], qkv: [tokens, QKVWidth].
func (b *Block) Project(qkv, x []float32, tokens int) { b.qkv.mul(b.m.pool, qkv, x, tokens, false) }

// ProjectBackward writes dx from dqkv.
func (b *Block) ProjectBackward(dx, dqkv []float32, tokens int) {
	b.qkv.mulBack(b.m.pool, dx, dqkv, tokens, false)
}

// Rotate gives queries and keys their positions, in place.
func (b *Block) Rotate(qkv []float32, l *Layout) {
	c := &b.m.Config
	kernels.RoPE(b.m.pool, qkv, c.QKVWidth(), l.Tokens, c.Heads+c.KVHeads, c.HeadDim, l.Pos, l.cos, l.sin)
}

// RotateBackward turns dqkv back, in place.
func (b *Block) RotateBackward(dqkv []float32, l *Layout) {
	c := &b.m.Config
	kernels.RoPEBackward(b.m.pool, dqkv, c.QKVWidth(), l.Tokens, c.Heads+c.KVHeads, c.HeadDim, l.Pos, l.cos, l.sin)
}

// Attention writes o: [tokens, AttnWidth] from qkv, within each sequence; lse: [tokens, heads] for the backward, or nil.
// Products are in f32, but for the backward in the model's precision.
func (b *Block) Attention(o, lse, qkv []float32, l *Layout) {
	c := &b.m.Config
	w, k := c.QKVWidth(), c.AttnWidth()
	v := k + c.KVHeads*c.HeadDim
	h := c.heads()
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
	h := c.heads()
	h.Precision = b.m.packed()
	kernels.AttentionBackward(b.m.pool, dqkv, dqkv[k:], dqkv[v:], do, c.AttnWidth(), o, qkv, w, qkv[k:], qkv[v:], w, l.Spans, h, lse)
}

// AttnOut writes y = x + o·Woᵀ, the residual stream after attention; y may be x. Where x is nil it is o·Woᵀ alone.
func (b *Block) AttnOut(y, x, o []float32, tokens int) { b.m.addTo(y, x, &b.out, o, tokens) }

// addTo writes y = x + in·wᵀ, or without x where that is nil.
func (m *Model) addTo(y, x []float32, w *weight, in []float32, tokens int) {
	if x != nil && &y[0] != &x[0] {
		copy(y, x[:tokens*m.Config.Hidden])
	}
	w.mul(m.pool, y, in, tokens, x != nil)
}

// AttnOutBackward writes do from dy; the gradient of x is dy itself.
func (b *Block) AttnOutBackward(do, dy []float32, tokens int) {
	b.out.mulBack(b.m.pool, do, dy, tokens, false)
}

// GateUp writes gu: [tokens, 2·ffn], gate and up.
func (b *Block) GateUp(gu, x []float32, tokens int) { b.gateUp.mul(b.m.pool, gu, x, tokens, false) }

// GateUpBackward writes dx from dgu.
func (b *Block) GateUpBackward(dx, dgu []float32, tokens int) {
	b.gateUp.mulBack(b.m.pool, dx, dgu, tokens, false)
}

// Activate writes act: [tokens, ffn] = silu(gate)·up.
func (b *Block) Activate(act, gu []float32, tokens int) {
	kernels.SwiGLU(b.m.pool, act, gu, tokens, b.m.Config.FFN)
}

// ActivateBackward writes dgu: [tokens, 2·ffn] from dact; it may be gu.
func (b *Block) ActivateBackward(dgu, dact, gu []float32, tokens int) {
	kernels.SwiGLUBackward(b.m.pool, dgu, dact, gu, tokens, b.m.Config.FFN)
}

// Down writes y = x + act·Wdᵀ, the residual stream after the feed-forward layer; y may be x. Where x is nil it is act·Wdᵀ
// alone.
func (b *Block) Down(y, x, act []float32, tokens int) { b.m.addTo(y, x, &b.down, act, tokens) }

// FFN writes y = act·Wdᵀ, the feed-forward layer's own output, without the residual.
func (b *Block) FFN(y, act []float32, tokens int) { b.down.mul(b.m.pool, y, act, tokens, false) }

// DownBackward writes dact from dy; the gradient of x is dy itself.
func (b *Block) DownBackward(dact, dy []float32, tokens int) {
	b.down.mulBack(b.m.pool, dact, dy, tokens, false)
}

// Embed writes the embeddings of tokens: x: [tokens, hidden].
func (m *Model) Embed(x []float32, tokens []int32) {
	h := m.Config.Hidden
	for i, t := range tokens {
		m.embedding(x[i*h:(i+1)*h], int(t))
	}
}

// FinalNorm writes y = RMSNorm(x) before the head.
func (m *Model) FinalNorm(y, x, rstd []float32, tokens int) { m.rmsNorm(y, x, m.norm, rstd, tokens) }

// FinalNormBackward writes dx.
func (m *Model) FinalNormBackward(dx, dy, x, rstd []float32, tokens int) {
	m.rmsNormBackward(dx, dy, x, m.norm, rstd, tokens, false)
}

// Logits writes logits: [rows, vocab] from final-normed rows: [rows, hidden].
func (m *Model) Logits(logits, hidden []float32, rows int) {
	m.head.mul(m.pool, logits, hidden, rows, false)
}

// headRows is how many rows of logits exist at a time in HeadLoss.
const headRows = 128

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
// nothing. Logits exist for 128 rows at a time.
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
	}
	logits, x, tg, wt, ls := s.logits, s.x, s.targets[:], s.weights[:], s.loss[:]
	for ; len(rows) > 0; rows = rows[n:] {
		n = min(headRows, len(rows))
		for j, r := range rows[:n] {
			copy(x[j*h:(j+1)*h], hidden[r*h:])
			tg[j], wt[j] = targets[r], weights[r]
		}
		m.head.mul(m.pool, logits, x, n, false)
		kernels.CrossEntropy(m.pool, ls[:n], logits, tg[:n], wt[:n], n, v, dhidden != nil)
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
