package base

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/base/llama"
)

// GenOptions of Generate.
type GenOptions struct {
	Sampling
	MaxTokens int
	Seam      llama.Seam // nil for the bare base
	// Choose, when not nil, decides after the prompt was read what goes on, in place of Seam.
	Choose *Choice
	// Chosen, when not nil, is called with every token of the answer before emit, and the logits that it was chosen by: [vocab],
	// valid during the call.
	Chosen func(id int32, logits []float32)
}

// readTokens is how much of a prompt is read at a time, so that a long one takes the memory of its cache alone.
const readTokens = 512

// Why a generation ended.
const (
	StopEOS    = "stop"   // the model ended the text
	StopLength = "length" // MaxTokens or the context's end
)

// Generate continues prompt and returns the new tokens, without the token that ended the text, and why it ended. emit,
// when not nil, is called with every new token and the text that it completes; its error ends the generation.
func (b *Base) Generate(ctx context.Context, prompt []int32, o GenOptions, emit func(id int32, text string) error) ([]int32, string, error) {
	if len(prompt) == 0 {
		return nil, "", fmt.Errorf("generate: the prompt is empty: %w", llama.ErrInput)
	}
	if n := b.Model.Config.MaxSeq; len(prompt) > n {
		return nil, "", fmt.Errorf("generate: a prompt of %d tokens, the model's context has %d: %w", len(prompt), n, llama.ErrInput)
	}
	sampler, err := NewSampler(o.Sampling)
	if err != nil {
		return nil, "", err
	}
	sampler.Read(prompt)
	cache, stream := b.Model.NewCache(), b.Tokenizer.Stream()
	seam := o.Seam
	if o.Choose != nil {
		seam = o.Choose.Look
	}
	logits := make([]float32, b.Model.Config.Vocab)
	r := &reader{m: b.Model, batch: llama.Batch{Seqs: []llama.Seq{{Cache: cache}}}}
	var out []int32
	for next := prompt; ; next = out[len(out)-1:] {
		if err := ctx.Err(); err != nil {
			return out, "", err
		}
		if len(out) >= o.MaxTokens || cache.Len+len(next) > b.Model.Config.MaxSeq && len(out) > 0 {
			return out, StopLength, flush(stream.Flush(), emit)
		}
		if err := r.read(ctx, next, seam); err != nil {
			return out, "", fmt.Errorf("generate: %w", err)
		}
		if o.Choose != nil && len(out) == 0 {
			if seam, err = o.Choose.Decide(); err == nil && seam != nil {
				cache.Truncate(0)
				err = r.read(ctx, prompt, seam)
			}
			if err != nil {
				return out, "", fmt.Errorf("generate: %w", err)
			}
		}
		b.Model.Logits(logits, r.x[len(r.x)-b.Model.Config.Hidden:], 1)
		id := sampler.Next(logits)
		if b.Tokenizer.IsEOS(id) {
			return out, StopEOS, flush(stream.Flush(), emit)
		}
		out = append(out, id)
		if o.Chosen != nil {
			o.Chosen(id, logits)
		}
		if emit != nil {
			if err := emit(id, stream.Next(id)); err != nil {
				return out, "", err
			}
		}
	}
}

// reader reads one sequence.
type reader struct {
	m     *llama.Model
	batch llama.Batch // with the sequence's cache
	x     []float32   // rows of the last part read: [tokens, hidden]
}

// read appends tokens to what the cache holds, readTokens at a time.
func (r *reader) read(ctx context.Context, ids []int32, seam llama.Seam) (err error) {
	for {
		n := min(readTokens, len(ids))
		r.batch.Tokens, r.batch.Seqs[0].Len = ids[:n], n
		if r.x, err = r.m.ForwardIn(r.x, r.batch, seam); err != nil {
			return err
		}
		if ids = ids[n:]; len(ids) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func flush(rest string, emit func(int32, string) error) error {
	if rest == "" || emit == nil {
		return nil
	}
	return emit(-1, rest)
}
