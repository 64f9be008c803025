package batch

import (
	"context"
	"fmt"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// Request is a sequence to compute.
type Request struct {
	Client    string  // the queue is fair between clients
	Prompt    []int32 // at least one token
	MaxTokens int     // to write at most
	Sampling  base.Sampling
	LogProbs  int     // how many of the most probable tokens come with each, and its own logarithm; below 1: none
	Sets      Sets    // what is on
	Choice    *Choice // decides what is on, in place of Sets; nil for none

	mean bool // the prompt is read for its rows, nothing is written
}

// Sets is what runs beside the base for a sequence. The zero value is the bare base.
type Sets struct {
	Seam llama.Seam
	// Key names what Seam computes: sequences of one key share what was computed of prompts that begin alike. The bare base's
	// is empty.
	Key   string
	Names []string   // for Stats
	Note  func() any // is called after each pass whose last row gives a token, which takes the result along; may be nil
}

// Choice decides after the prompt was read what is on.
type Choice struct {
	Look   llama.Seam           // sees the prompt while the base alone reads it
	From   int                  // so many tokens of the prompt Look need not see
	Skip   func(n int)          // tells Look that it does not see the first n
	Decide func() (Sets, error) // runs on a goroutine of its own; the zero value leaves what was read as it is
}

// Token is a new token.
type Token struct {
	ID      int32
	LogProb float64             // natural logarithm of its probability by the model's logits, with LogProbs
	Top     []base.TokenLogProb // with LogProbs
	Note    any                 // what Sets.Note returned
}

// check reports what the model cannot take, so that one request never makes a pass fail that it shares.
func (r *Request) check(m *llama.Model) error {
	if len(r.Prompt) == 0 {
		return fmt.Errorf("generate: the prompt is empty: %w", llama.ErrInput)
	}
	if n := m.Config.MaxSeq; len(r.Prompt) > n {
		return fmt.Errorf("generate: a prompt of %d tokens, the model's context has %d: %w", len(r.Prompt), n, llama.ErrInput)
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= m.Config.Vocab {
			return fmt.Errorf("generate: token %d at %d is outside the vocabulary of %d: %w", id, i, m.Config.Vocab, llama.ErrInput)
		}
	}
	return nil
}

// sequence is a request under way. All but out belongs to the scheduler's goroutine; sets is written under its lock.
type sequence struct {
	Request
	ctx     context.Context
	sampler *base.Sampler
	sets    Sets
	looking bool // the base alone reads, for Choice
	asking  bool // Choice decides
	answer  *answer
	began   time.Time

	ids   []int32 // the prompt and what was written; the cache has the first of them
	cache *llama.Cache
	sum   []float64 // [hidden], of a request for the mean
	out   outbox
}

// left is how many tokens are to be read before the next one is known.
func (s *sequence) left() int { return len(s.ids) - s.cache.Len }

// written is how many tokens came out.
func (s *sequence) written() int { return len(s.ids) - len(s.Prompt) }

// seam is what runs beside the base now.
func (s *sequence) seam() llama.Seam {
	if s.looking {
		return s.Choice.Look
	}
	return s.sets.Seam
}
