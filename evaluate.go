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
	Sets       []string // that are on; with Auto, between which the gates decide
	Auto       bool     // gates decide for every window which sets are on, all that have one when Sets names none
	GateTokens int      // tokens of a window that decide, default 64; they are scored with the base alone
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
	LogitsSHA256 string  `json:"logits_sha256"`   // over all logits, f32 little-endian
	Fired        []Fired `json:"fired,omitempty"` // with Auto: in how many windows each set was on
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
	on := base.EvalOptions{HashLogits: true}
	b, seam, a, err := e.withSetsOr(ctx, o.Sets, o.Auto)
	on.Seam = seam
	if err != nil {
		return nil, err
	}
	if o.GateTokens == 0 {
		o.GateTokens = gateTokens
	}
	if a != nil {
		on.Choose = func(w base.Window) *base.Choice { return a.choose(ctx, w.Tokens, promptOf(w, o.GateTokens)) }
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
	on.Progress = func(done, total int) {
		e.progress(Progress{Task: "evaluate", Done: done, Total: total, Unit: "windows"})
	}
	r, err := b.Measure(ctx, windows, on)
	if err != nil {
		return nil, err
	}
	return &EvalResult{r.Windows, r.Tokens, r.NLL, r.Perplexity, r.LogitsSHA256, a.report()}, nil
}
