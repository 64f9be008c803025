package peft

import (
	"cmp"
	"context"
	"errors"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
)

// EvalOptions of Evaluate.
type EvalOptions struct {
	Data       []string
	Sets       []string // that are on
	SeqLen     int      // tokens a window, default 512
	MaxWindows int      // 0 for all
	TrainAll   bool     // score prompts and questions too
}

// EvalResult is what Evaluate measured.
type EvalResult struct {
	Windows      int     `json:"windows"`
	Tokens       int     `json:"tokens"` // predicted
	NLL          float64 `json:"nll"`    // mean, nats a token
	Perplexity   float64 `json:"perplexity"`
	LogitsSHA256 string  `json:"logits_sha256"` // over all logits, f32 little-endian
}

// Evaluate measures perplexity: of plain text over windows that do not overlap, the first token of a window not
// predicted; of records each by itself, over what training would learn.
func (e *Engine) Evaluate(ctx context.Context, o EvalOptions) (*EvalResult, error) {
	if len(o.Data) == 0 {
		return nil, errors.New("peft: evaluate: no data given")
	}
	for _, f := range o.Data {
		if err := exists("data", f); err != nil {
			return nil, err
		}
	}
	b, seam, err := e.withSets(ctx, o.Sets)
	if err != nil {
		return nil, err
	}
	d, err := tune.ReadFiles(b.Tokenizer, o.Data, o.TrainAll)
	if err != nil {
		return nil, err
	}
	e.leftOut(d)
	seqLen := min(cmp.Or(o.SeqLen, 512), b.Model.Config.MaxSeq)
	if seqLen < o.SeqLen {
		e.warnf("windows of %d tokens, the base's context, instead of %d", seqLen, o.SeqLen)
	}
	var windows []base.Window
	for _, r := range append(d.Docs, d.Records...) {
		for at := 0; at+1 < len(r.Tokens); at += seqLen {
			end := min(at+seqLen, len(r.Tokens))
			if end-at > 1 {
				windows = append(windows, base.Window{Tokens: r.Tokens[at:end], Scored: r.Trained[at:end]})
			}
		}
	}
	if o.MaxWindows > 0 {
		windows = windows[:min(len(windows), o.MaxWindows)]
	}
	r, err := b.Measure(ctx, windows, base.EvalOptions{Seam: seam, HashLogits: true, Progress: func(done, total int) {
		e.progress(Progress{Task: "evaluate", Done: done, Total: total, Unit: "windows"})
	}})
	if err != nil {
		return nil, err
	}
	return &EvalResult{r.Windows, r.Tokens, r.NLL, r.Perplexity, r.LogitsSHA256}, nil
}
