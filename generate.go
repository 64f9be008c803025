package peft

import (
	"context"
	"errors"
	"fmt"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/kernels"
)

// GenerateOptions of Generate.
type GenerateOptions struct {
	Prompt      string
	Messages    []tokenizer.Message // a chat in the model's template, instead of Prompt
	PromptIDs   []int32             // tokens, instead of Prompt
	Sets        []string            // that are on, as "name" or "name@revision"; with Auto, between which the gates decide
	Auto        bool                // gates decide by the last 128 tokens of what the prompt asks which sets are on, all that have one when Sets names none
	MaxTokens   int                 // default 128
	Temperature float64             // 0 is greedy
	TopP        float64             // 0 or 1 is all
	TopK        int                 // 0 is all
	MinP        float64             // least probability, as a share of the most probable token's; 0 is all
	// Repetition divides (positive) or multiplies the logits of tokens that the prompt or the answer has (arXiv 1909.05858,
	// section 4.1); 0 or 1: none. Presence and Frequency are taken off the logits of tokens that the answer has, once and for
	// each time.
	Repetition, Presence, Frequency float64
	LogitBias                       map[int32]float32 // added to logits
	LogProbs                        int               // how many of the most probable tokens to tell of, with each token's own probability; below 1: none
	Stop                            []string          // strings before which the text ends
	Provenance                      bool              // tell what each set contributed
	Client                          string            // who asks: a Batcher's queue is fair between clients
	Seed                            uint64
}

// GenerateResult is what Generate wrote.
type GenerateResult struct {
	Text            string  `json:"text"`
	TokenIDs        []int32 `json:"token_ids"` // the new ones, those of a stop string included
	PromptTokens    int     `json:"prompt_tokens"`
	Stop            string  `json:"stop"` // "stop" when the model or a stop string ended the text, "length" otherwise
	TokensPerSecond float64 `json:"tokens_per_second"`
	FirstToken      float64 `json:"first_token_seconds"` // from the call to the first new token, loading not counted
	Fired           []Fired `json:"fired,omitempty"`     // with Auto: which sets were on

	Gates  []GateScore `json:"gates,omitempty"`  // with Auto: what each gate found, of more than 64 those that fired; none of a prompt too short to judge
	Shares []Share     `json:"shares,omitempty"` // with Provenance: over the whole answer
}

// sampling is how the options want tokens to be chosen.
func (o *GenerateOptions) sampling() base.Sampling {
	return base.Sampling{Temperature: o.Temperature, TopP: o.TopP, TopK: o.TopK, MinP: o.MinP, Repetition: o.Repetition, Frequency: o.Frequency, Presence: o.Presence,
		LogitBias: o.LogitBias, Seed: o.Seed}
}

// prompt returns the tokens that are to be continued.
func (o *GenerateOptions) prompt(t *tokenizer.Tokenizer) ([]int32, error) {
	switch {
	case len(o.PromptIDs) > 0:
		for _, id := range o.PromptIDs {
			if id < 0 || int(id) >= t.Vocab() {
				return nil, fmt.Errorf("generate: the prompt has token %d, the model's are 0 to %d: %w", id, t.Vocab()-1, llama.ErrInput)
			}
		}
		return o.PromptIDs, nil
	case len(o.Messages) > 0:
		text, err := t.ApplyChat(o.Messages, true)
		if err != nil {
			return nil, err
		}
		return t.Encode(text, true), nil
	}
	return t.Encode(o.Prompt, true), nil
}

// Generate continues a prompt or answers a chat. emit, when not nil, gets the text as it comes; its error ends the text.
func (e *Engine) Generate(ctx context.Context, o GenerateOptions, emit func(text string) error) (*GenerateResult, error) {
	return e.generate(ctx, o, func(t Token) error {
		if emit == nil || t.Text == "" {
			return nil
		}
		return emit(t.Text)
	})
}

// generate is Generate with every token, without Shares.
func (e *Engine) generate(ctx context.Context, o GenerateOptions, emit func(Token) error) (*GenerateResult, error) {
	b, seam, a, err := e.withSetsOr(ctx, o.Sets, o.Auto)
	if err != nil {
		return nil, err
	}
	ids, err := o.prompt(b.Tokenizer)
	if err != nil {
		return nil, err
	}
	w, err := newWriter(&o, len(ids), emit)
	if err != nil {
		return nil, err
	}
	gen := base.GenOptions{Sampling: o.sampling(), MaxTokens: o.MaxTokens, Seam: seam}
	if a != nil {
		gen.Choose = a.choose(ctx, ids, len(ids))
	}
	var t Token
	if o.LogProbs > 0 {
		gen.Chosen = func(id int32, logits []float32) {
			of, top := base.LogProbs(logits, id, o.LogProbs)
			t.LogProb, t.Top = of, named(b.Tokenizer, top)
		}
	}
	_, stop, err := b.Generate(ctx, ids, gen, func(id int32, text string) error {
		t.ID, t.Text = id, text
		return w.add(t)
	})
	return w.end(stop, err, a)
}

// named adds texts to tokens.
func named(t *tokenizer.Tokenizer, of []base.TokenLogProb) []TokenLogProb {
	all := make([]TokenLogProb, len(of))
	for i, p := range of {
		all[i] = TokenLogProb{p.ID, t.Decode([]int32{p.ID}), p.LogProb}
	}
	return all
}

// LogitsOptions of Logits.
type LogitsOptions struct {
	Text string
	Sets []string // that are on; with Auto, between which the gates decide
	Auto bool     // gates decide by the last 128 tokens of what the text asks which sets are on, and these see the whole text
	Top  int      // default 20
}

// LogitsResult is what the model makes of a text.
type LogitsResult struct {
	TokenIDs []int32 `json:"token_ids"`
	MeanNLL  float64 `json:"mean_nll"`        // nats a token, the first not counted
	Top      []Logit `json:"top"`             // of the last position, the largest first
	Fired    []Fired `json:"fired,omitempty"` // with Auto: which sets were on
}

// Logit is one token's.
type Logit struct {
	ID    int32   `json:"id"`
	Logit float32 `json:"logit"`
	Token string  `json:"token"`
}

// Logits runs a text through the base and the sets, in f32 throughout; no token is put in front.
func (e *Engine) Logits(ctx context.Context, o LogitsOptions) (*LogitsResult, error) {
	if o.Top < 0 {
		return nil, fmt.Errorf("peft: logits: the largest %d, want at least 1", o.Top)
	}
	b, seam, a, err := e.withSetsOr(ctx, o.Sets, o.Auto)
	if err != nil {
		return nil, err
	}
	ids := b.Tokenizer.Encode(o.Text, true)
	if len(ids) == 0 {
		return nil, errors.New("peft: logits: the text is empty")
	}
	m, err := e.inF32(b)
	if err != nil {
		return nil, err
	}
	if a != nil {
		c := a.choose(ctx, ids, len(ids))
		x, err := m.Forward(llama.One(ids, nil), c.Look)
		if err == nil {
			seam, err = c.Decide()
		}
		if err != nil {
			return nil, err
		}
		if seam == nil {
			return e.logits(b, m, ids, x, o.Top, a), nil
		}
	}
	x, err := m.Forward(llama.One(ids, nil), seam)
	if err != nil {
		return nil, err
	}
	return e.logits(b, m, ids, x, o.Top, a), nil
}

// logits makes the result from a text's final rows x: [tokens, hidden].
func (e *Engine) logits(b *base.Base, m *llama.Model, ids []int32, x []float32, top int, a *auto) *LogitsResult {
	res := &LogitsResult{TokenIDs: ids, Fired: a.report()}
	if n := len(ids) - 1; n > 0 {
		loss, weights := make([]float32, n), make([]float32, n)
		for i := range weights {
			weights[i] = 1
		}
		m.HeadLoss(loss, nil, x[:n*m.Config.Hidden], ids[1:], weights)
		for _, l := range loss {
			res.MeanNLL += float64(l) / float64(n)
		}
	}
	logits := make([]float32, m.Config.Vocab)
	m.Logits(logits, x[len(x)-m.Config.Hidden:], 1)
	if top == 0 {
		top = 20
	}
	n := min(top, len(logits))
	val, idx := make([]float32, n), make([]int32, n)
	kernels.TopK(val, idx, logits)
	for i, id := range idx {
		res.Top = append(res.Top, Logit{id, val[i], b.Tokenizer.Decode([]int32{id})})
	}
	return res
}
