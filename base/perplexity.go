package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"unsafe"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// EvalOptions of Perplexity.
type EvalOptions struct {
	SeqLen     int        // tokens a window
	MaxWindows int        // 0 for all
	Seam       llama.Seam // nil for the bare base
	HashLogits bool       // compute LogitsSHA256
	Progress   func(done, windows int)
	// Choose, when not nil, decides for each window what reads it, in place of Seam.
	Choose func(w Window) *Choice
}

// Choice is how a text is read whose first tokens decide what reads the rest: once with Look, which must add nothing, and
// again from the beginning with the seam that Decide returns, if that is not nil.
type Choice struct {
	Prompt int        // tokens that decide, at least 1: what comes after them is predicted with the seam decided on
	Look   llama.Seam // sees the text while the base alone reads it; nil for nothing to see
	Decide func() (llama.Seam, error)
}

// EvalResult is what Perplexity measured.
type EvalResult struct {
	Windows      int
	Tokens       int     // predicted
	NLL          float64 // mean, nats a predicted token
	Perplexity   float64 // e^NLL
	LogitsSHA256 string  // over all logits of all rows in order, f32 little-endian
}

// logitRows is how many rows of logits exist at a time.
const logitRows = 128

// Perplexity measures how well the model predicts ids: in windows of SeqLen that do not overlap, the first token of each
// not predicted. A last window of fewer tokens counts when it has at least two.
func (b *Base) Perplexity(ctx context.Context, ids []int32, o EvalOptions) (*EvalResult, error) {
	if o.SeqLen < 2 || o.SeqLen > b.Model.Config.MaxSeq {
		return nil, fmt.Errorf("windows of %d tokens: want 2 to %d, the model's context: %w", o.SeqLen, b.Model.Config.MaxSeq, llama.ErrInput)
	}
	n := (len(ids) + o.SeqLen - 2) / o.SeqLen // a last single token makes no window
	if n == 0 {
		return nil, fmt.Errorf("a text of %d tokens is too short to measure: %w", len(ids), llama.ErrInput)
	}
	if o.MaxWindows > 0 {
		n = min(n, o.MaxWindows)
	}
	windows := make([]Window, n)
	for i := range windows {
		windows[i].Tokens = ids[i*o.SeqLen : min((i+1)*o.SeqLen, len(ids))]
	}
	return b.Measure(ctx, windows, o)
}

// Window is a text that is measured by itself.
type Window struct {
	Tokens []int32
	Scored []bool // [len(Tokens)]: which tokens count, the first never; nil for all
}

// Measure is Perplexity on the windows given; SeqLen and MaxWindows do not count.
func (b *Base) Measure(ctx context.Context, windows []Window, o EvalOptions) (*EvalResult, error) {
	e := evaluation{b: b, o: o}
	if o.HashLogits {
		e.hash = sha256.New()
	}
	for i, w := range windows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := e.window(w); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(i+1, len(windows))
		}
	}
	if e.tokens == 0 {
		return nil, fmt.Errorf("nothing to measure in %d windows: %w", len(windows), llama.ErrInput)
	}
	r := &EvalResult{Windows: len(windows), Tokens: e.tokens, NLL: e.sum / float64(e.tokens)}
	r.Perplexity = math.Exp(r.NLL)
	if e.hash != nil {
		r.LogitsSHA256 = hex.EncodeToString(e.hash.Sum(nil))
	}
	return r, nil
}

type evaluation struct {
	b      *Base
	o      EvalOptions
	hash   hash.Hash
	logits []float32
	sum    float64
	tokens int
}

func (e *evaluation) window(w Window) error {
	m, ids := e.b.Model, w.Tokens
	h, v := m.Config.Hidden, m.Config.Vocab
	x, err := e.read(w)
	if err != nil {
		return fmt.Errorf("evaluate: %w", err)
	}
	if e.logits == nil {
		e.logits = make([]float32, logitRows*v)
	}
	var loss [logitRows]float32
	for r := 0; r < len(ids); r += logitRows {
		rows := min(logitRows, len(ids)-r)
		l := e.logits[:rows*v]
		m.Logits(l, x[r*h:(r+rows)*h], rows)
		if e.hash != nil {
			e.hash.Write(littleEndian(l))
		}
		scored := min(rows, len(ids)-1-r) // the last row predicts nothing that is there
		if scored <= 0 {
			continue
		}
		kernels.CrossEntropy(m.Pool(), loss[:scored], l, ids[r+1:r+1+scored], nil, scored, v, false)
		for i, nll := range loss[:scored] {
			if w.Scored == nil || w.Scored[r+1+i] {
				e.sum += float64(nll)
				e.tokens++
			}
		}
	}
	return nil
}

// read returns the window's rows, [tokens, hidden].
func (e *evaluation) read(w Window) ([]float32, error) {
	m := e.b.Model
	if e.o.Choose == nil {
		return m.Forward(llama.One(w.Tokens, nil), e.o.Seam)
	}
	c := e.o.Choose(w)
	x, err := m.Forward(llama.One(w.Tokens, nil), c.Look)
	if err != nil || c.Prompt > len(w.Tokens) {
		return x, err
	}
	seam, err := c.Decide()
	if err != nil || seam == nil {
		return x, err
	}
	on, err := m.Forward(llama.One(w.Tokens, nil), seam)
	if err != nil {
		return nil, err
	}
	at := (c.Prompt - 1) * m.Config.Hidden // the prompt's last row predicts what comes after it
	copy(x[at:], on[at:])
	return x, nil
}

// littleEndian views f32 as bytes; every platform that Go's amd64 and arm64 ports run on has that order.
func littleEndian(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
