package peft

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/batch"
	"github.com/gopeft/peft/base/llama"
)

// BatchOptions of NewBatcher. Zero values mean the defaults.
type BatchOptions struct {
	MaxSequences int // that are computed together; default 32
	MaxQueue     int // that wait beyond them; default 256
	// BatchTokens is how many tokens one pass over the base takes at most, default 256: prompts are read in parts of what the
	// running sequences leave of it.
	BatchTokens int
	// CacheTokens is how many tokens of finished sequences are kept, over all, for prompts that begin like them; default 8192,
	// below 0 none.
	CacheTokens int
}

// Batcher runs many generations at once: each pass over the base takes a token of every running one, each with its own sets,
// and parts of the prompts that are still to be read. An answer has the bits that Engine.Generate gives: those of a row depend
// neither on the rows beside it nor on whether a prompt's beginning was read before. Its methods may be called from several
// goroutines; close it before the engine.
type Batcher struct {
	e   *Engine
	b   *base.Base
	s   *batch.Scheduler
	mix peer.Mix // of the pass under way

	used atomic.Pointer[peer.Usage] // nil until a request had sets
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

// ErrBusy reports a full queue; such an error is a *BusyError.
var ErrBusy = batch.ErrBusy

// ErrClosed reports a batcher that takes nothing more.
var ErrClosed = batch.ErrClosed

// BusyError says how long to wait before a place in the queue may be free.
type BusyError = batch.BusyError

// NewBatcher starts a batcher, and loads the base if that was not done.
func (e *Engine) NewBatcher(o BatchOptions) (*Batcher, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	bt := &Batcher{e: e, b: b}
	bt.s = batch.New(b, batch.Options{MaxSequences: o.MaxSequences, MaxQueue: o.MaxQueue, BatchTokens: o.BatchTokens, CacheTokens: o.CacheTokens, Mix: bt.mixed})
	return bt, nil
}

// mixed is the seam of a pass.
func (b *Batcher) mixed(parts []batch.Part) llama.Seam {
	b.mix.Parts, b.mix.Usage = b.mix.Parts[:0], b.used.Load()
	for _, p := range parts {
		b.mix.Parts = append(b.mix.Parts, peer.Part(p))
	}
	return &b.mix
}

// Generate runs one generation to its end, with the revisions that its sets have now. emit, when not nil, is called with every
// new token; its error ends it. Errors wrap ErrBusy when the queue is full.
func (b *Batcher) Generate(ctx context.Context, o GenerateOptions, emit func(Token) error) (*GenerateResult, error) {
	ids, err := o.prompt(b.b.Tokenizer)
	if err != nil {
		return nil, err
	}
	w, err := newWriter(&o, len(ids), emit)
	if err != nil {
		return nil, err
	}
	r := batch.Request{Client: o.Client, Prompt: ids, MaxTokens: o.MaxTokens, Sampling: o.sampling(), LogProbs: o.LogProbs}
	a, release, err := b.choose(ctx, &r, o.Sets, o.Auto, o.Provenance)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := b.count(ctx, o.Auto || len(o.Sets) > 0); err != nil {
		return nil, err
	}
	stream := b.b.Tokenizer.Stream()
	stop, err := b.s.Generate(ctx, r, func(t batch.Token) error {
		n := Token{ID: t.ID, Text: stream.Next(t.ID), LogProb: t.LogProb, Top: named(b.b.Tokenizer, t.Top)}
		n.Shares, _ = t.Note.([]Share)
		return w.add(n)
	})
	if err == nil {
		err = w.add(Token{ID: -1, Text: stream.Flush()})
	}
	release()
	return w.end(stop, err, a)
}

// choose says in a request what is on, until release is called.
func (b *Batcher) choose(ctx context.Context, r *batch.Request, sets []string, gates, provenance bool) (a *auto, release func(), err error) {
	if !gates {
		_, c, err := b.e.withSets(ctx, sets)
		r.Sets = c.sets(provenance)
		return nil, func() {}, err
	}
	s := b.e.reg.Snapshot()
	var mu sync.Mutex // a decision may be under way when the caller has gone
	release = func() {
		mu.Lock()
		defer mu.Unlock()
		if s != nil {
			s.Close()
			s = nil
		}
	}
	a, err = b.e.newAutoIn(ctx, s, sets)
	if err != nil || a == nil {
		release()
		return nil, release, err
	}
	a.held = s
	j := a.look(r.Prompt)
	r.Choice = &batch.Choice{Look: j, From: j.From, Skip: func(n int) { j.From, j.To = j.From-n, j.To-n }, Decide: func() (batch.Sets, error) {
		mu.Lock()
		defer mu.Unlock()
		if s == nil {
			return batch.Sets{}, context.Canceled
		}
		c, err := a.decide(ctx, r.Prompt, j)
		return c.sets(provenance), err
	}}
	return a, release, nil
}

// count begins to count which cells are selected, when sets may be on for the first time.
func (b *Batcher) count(ctx context.Context, sets bool) error {
	if !sets || b.used.Load() != nil {
		return nil
	}
	r, err := b.e.router(ctx)
	if err == nil {
		b.used.CompareAndSwap(nil, peer.NewUsage(r.Router))
	}
	return err
}

// Usage returns how often the requests so far selected each cell of the router's layers; nil before any had sets.
func (b *Batcher) Usage() []peer.LayerUsage {
	u := b.used.Load()
	if u == nil {
		return nil
	}
	return u.Snapshot()
}

// Embed returns a vector for each text, [hidden], of length 1: the mean of its tokens' final-normed rows, with those sets on or,
// with auto, those whose gates fire; and how many tokens the texts have.
func (b *Batcher) Embed(ctx context.Context, texts, sets []string, auto bool) ([][]float32, int, error) {
	vectors, tokens := make([][]float32, len(texts)), 0
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type done struct {
		i   int
		err error
	}
	results := make(chan done, len(texts))
	for i, text := range texts {
		ids := b.b.Tokenizer.Encode(text, true)
		tokens += len(ids)
		go func() {
			r := batch.Request{Prompt: ids}
			_, release, err := b.choose(ctx, &r, sets, auto, false)
			if err == nil {
				defer release()
				vectors[i], err = b.embed(ctx, r)
			}
			results <- done{i, err}
		}()
	}
	var err error
	for range texts {
		if d := <-results; d.err != nil && err == nil {
			err = fmt.Errorf("peft: embed text %d: %w", d.i, d.err)
			cancel()
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return vectors, tokens, nil
}

func (b *Batcher) embed(ctx context.Context, r batch.Request) ([]float32, error) {
	mean, err := b.s.Mean(ctx, r)
	if err != nil {
		return nil, err
	}
	var sum float64
	for _, x := range mean {
		sum += x * x
	}
	v := make([]float32, len(mean))
	for i, x := range mean {
		if sum > 0 {
			v[i] = float32(x / math.Sqrt(sum))
		}
	}
	return v, nil
}

// Busy reports whether a generation runs or waits.
func (b *Batcher) Busy() bool { return b.s.Busy() }

// Quiet waits until none does. Work that can wait, such as a training between two steps, lets requests go first by it: both may
// compute at once, but only one of them then has the engine's threads, and the other its own goroutine alone.
func (b *Batcher) Quiet(ctx context.Context) error { return b.s.Quiet(ctx) }

// BatchStats says what a batcher is doing.
type BatchStats struct {
	Running, Waiting int            // sequences
	Passes           int64          // over the base since the start
	Prompt, Written  int64          // tokens read and written since the start
	Reused           int64          // tokens of prompts that were not read again
	CacheTokens      int            // kept of finished sequences and held by running ones
	Sets             map[string]int // running sequences by set, name@revision
}

// Stats returns what the batcher is doing now.
func (b *Batcher) Stats() BatchStats { return BatchStats(b.s.Stats()) }

// Close lets what runs come to its end, or ends it when ctx does, and takes nothing more.
func (b *Batcher) Close(ctx context.Context) error { return b.s.Close(ctx) }
