package peft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/kernels"
)

// GenerateOptions of Generate.
type GenerateOptions struct {
	Prompt      string
	Messages    []tokenizer.Message // a chat in the model's template, instead of Prompt
	Sets        []string            // that are on, as "name" or "name@revision"
	MaxTokens   int                 // default 128
	Temperature float64             // 0 is greedy
	TopP        float64             // 0 or 1 is all
	Seed        uint64
}

// GenerateResult is what Generate wrote.
type GenerateResult struct {
	Text            string  `json:"text"`
	TokenIDs        []int32 `json:"token_ids"` // the new ones
	PromptTokens    int     `json:"prompt_tokens"`
	Stop            string  `json:"stop"` // "stop" when the model ended the text, "length" otherwise
	TokensPerSecond float64 `json:"tokens_per_second"`
	FirstToken      float64 `json:"first_token_seconds"` // from the call to the first new token, loading not counted
}

// Generate continues a prompt or answers a chat. emit, when not nil, gets the text as it comes; its error ends the text.
func (e *Engine) Generate(ctx context.Context, o GenerateOptions, emit func(text string) error) (*GenerateResult, error) {
	b, seam, err := e.withSets(ctx, o.Sets)
	if err != nil {
		return nil, err
	}
	prompt := o.Prompt
	if len(o.Messages) > 0 {
		if prompt, err = b.Tokenizer.ApplyChat(o.Messages, true); err != nil {
			return nil, err
		}
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 128
	}
	ids := b.Tokenizer.Encode(prompt, true)
	res := &GenerateResult{PromptTokens: len(ids)}
	start := time.Now()
	res.TokenIDs, res.Stop, err = b.Generate(ctx, ids, base.GenOptions{
		Sampling: base.Sampling{Temperature: o.Temperature, TopP: o.TopP, Seed: o.Seed}, MaxTokens: o.MaxTokens, Seam: seam,
	}, func(_ int32, text string) error {
		if res.FirstToken == 0 {
			res.FirstToken = time.Since(start).Seconds()
		}
		if emit == nil || text == "" {
			return nil
		}
		return emit(text)
	})
	if err != nil {
		return nil, err
	}
	res.TokensPerSecond = float64(len(res.TokenIDs)) / time.Since(start).Seconds()
	res.Text = b.Tokenizer.Decode(res.TokenIDs)
	return res, nil
}

// LogitsOptions of Logits.
type LogitsOptions struct {
	Text string
	Sets []string
	Top  int // default 20
}

// LogitsResult is what the model makes of a text.
type LogitsResult struct {
	TokenIDs []int32 `json:"token_ids"`
	MeanNLL  float64 `json:"mean_nll"` // nats a token, the first not counted
	Top      []Logit `json:"top"`      // of the last position, the largest first
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
	b, seam, err := e.withSets(ctx, o.Sets)
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
	x, err := m.Forward(llama.One(ids, nil), seam)
	if err != nil {
		return nil, err
	}
	res := &LogitsResult{TokenIDs: ids}
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
	if o.Top == 0 {
		o.Top = 20
	}
	n := min(o.Top, len(logits))
	val, idx := make([]float32, n), make([]int32, n)
	kernels.TopK(val, idx, logits)
	for i, id := range idx {
		res.Top = append(res.Top, Logit{id, val[i], b.Tokenizer.Decode([]int32{id})})
	}
	return res, nil
}
