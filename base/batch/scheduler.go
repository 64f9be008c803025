package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// ErrClosed reports a scheduler that takes nothing more.
var ErrClosed = errors.New("the scheduler is closed")

// Options of New; zero values mean the defaults.
type Options struct {
	MaxSequences int // that are computed together; default 32
	MaxQueue     int // that wait beyond them; default 256
	// BatchTokens is how many tokens a pass takes at most; default 256. It is what a stream waits for while prompts are read.
	BatchTokens int
	// CacheTokens is how many tokens of sequences that ended are kept; default 8192, below 0 none.
	CacheTokens int
	// Mix returns the seam of a pass over parts, in order of rows, with different seams; it is used until the next call. Without it,
	// different seams get a pass each.
	Mix func(parts []Part) llama.Seam
}

// Part is the seam of some rows, nil for the bare base.
type Part struct {
	Seam   llama.Seam
	Tokens int
}

// Scheduler computes sequences. Its methods may be called from several goroutines.
type Scheduler struct {
	b     *base.Base
	o     Options
	ended chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	wake    *sync.Cond // something changed for the goroutine
	queue   queue
	running []*sequence // changed by the goroutine alone
	killed  error       // why all ends at once
	closed  bool
	quiet   chan struct{} // closed when nothing runs or waits; nil when nothing does
	stats   Stats
	pace    time.Duration // that sequences take, smoothed

	prefixes prefixes
	pass     pass
}

// Stats is what a scheduler is doing and has done.
type Stats struct {
	Running, Waiting int
	Passes           int64
	Prompt, Written  int64 // tokens read and written
	Reused           int64 // tokens of prompts that were not read again
	CacheTokens      int   // kept, and held by what runs
	Sets             map[string]int
}

// New starts a scheduler for a base, which must stay open until Close has returned.
func New(b *base.Base, o Options) *Scheduler {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.MaxSequences, 32}, {&o.MaxQueue, 256}, {&o.BatchTokens, 256}, {&o.CacheTokens, 8192}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	s := &Scheduler{b: b, o: o, ended: make(chan struct{}), prefixes: prefixes{limit: max(0, o.CacheTokens)}}
	s.wake = sync.NewCond(&s.mu)
	s.pass.s = s
	go s.loop()
	return s
}

// Generate computes a sequence and calls emit, on the caller's goroutine, with every new token but the one that ends the text. It
// returns why it ended, as base.Generate does. Errors wrap ErrBusy, ErrClosed and llama.ErrInput where they apply; emit's
// error, or the context's end, ends the sequence.
func (s *Scheduler) Generate(ctx context.Context, r Request, emit func(Token) error) (stop string, err error) {
	sampler, err := base.NewSampler(r.Sampling)
	if err != nil {
		return "", err
	}
	sampler.Read(r.Prompt)
	stop, _, err = s.run(ctx, r, sampler, emit)
	return stop, err
}

// Mean returns the mean of the prompt's final-normed rows: [hidden].
func (s *Scheduler) Mean(ctx context.Context, r Request) ([]float64, error) {
	r.mean, r.MaxTokens = true, 0
	_, sum, err := s.run(ctx, r, nil, nil)
	for i := range sum {
		sum[i] /= float64(len(r.Prompt))
	}
	return sum, err
}

func (s *Scheduler) run(ctx context.Context, r Request, sampler *base.Sampler, emit func(Token) error) (string, []float64, error) {
	if err := r.check(s.b.Model); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := &sequence{Request: r, ctx: ctx, sampler: sampler, sets: r.Sets, ids: append([]int32(nil), r.Prompt...)}
	q.out.signal = make(chan struct{}, 1)
	if err := s.enter(q); err != nil {
		return "", nil, err
	}
	stop, err := q.out.drain(ctx, emit)
	if err != nil {
		s.mu.Lock()
		s.queue.remove(q)
		s.settle()
		s.mu.Unlock()
		return "", nil, err
	}
	return stop, q.sum, nil
}

// enter puts a sequence in the queue.
func (s *Scheduler) enter(q *sequence) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if n := s.queue.n; n >= s.o.MaxQueue && (n > 0 || len(s.running) >= s.o.MaxSequences) {
		wait := time.Duration(float64(s.pace) * float64(n) / float64(s.o.MaxSequences))
		return &BusyError{n, max(time.Second, wait)}
	}
	s.queue.push(q)
	if s.quiet == nil {
		s.quiet = make(chan struct{})
	}
	s.wake.Signal()
	return nil
}

// settle tells those who wait for quiet. The lock is held.
func (s *Scheduler) settle() {
	if s.quiet != nil && s.queue.n == 0 && len(s.running) == 0 {
		close(s.quiet)
		s.quiet = nil
	}
}

// Busy reports whether something runs or waits.
func (s *Scheduler) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quiet != nil
}

// Quiet waits until nothing runs or waits.
func (s *Scheduler) Quiet(ctx context.Context) error {
	s.mu.Lock()
	quiet := s.quiet
	s.mu.Unlock()
	if quiet == nil {
		return ctx.Err()
	}
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats returns what the scheduler is doing.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Running, st.Waiting, st.Sets = len(s.running), s.queue.n, map[string]int{}
	for _, q := range s.running {
		for _, n := range q.sets.Names {
			st.Sets[n]++
		}
	}
	return st
}

// Close takes nothing more and returns when what runs or waits has come to its end; when ctx ends first, it ends them.
func (s *Scheduler) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.wake.Signal()
	s.mu.Unlock()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.killed = errors.Join(ErrClosed, ctx.Err())
	s.wake.Signal()
	s.mu.Unlock()
	<-s.ended
	return ctx.Err()
}

// loop is the goroutine: a pass after the other while something runs.
func (s *Scheduler) loop() {
	defer close(s.ended)
	for {
		s.mu.Lock()
		for {
			s.decide()
			s.drop()
			s.admit()
			s.settle()
			if s.ready() || s.closed && len(s.running) == 0 && s.queue.n == 0 {
				break
			}
			s.wake.Wait()
		}
		idle := len(s.running) == 0
		s.mu.Unlock()
		if idle {
			return
		}
		s.pass.run()
	}
}

// drop ends what was cancelled. The lock is held, as in all that follows.
func (s *Scheduler) drop() {
	keep := s.running[:0]
	for _, q := range s.running {
		err := q.ctx.Err()
		if s.killed != nil {
			err = s.killed
		}
		if err == nil || q.asking { // what asks is waited for: it reads the registry
			keep = append(keep, q)
			continue
		}
		s.keep(q)
		q.out.end("", err)
	}
	clear(s.running[len(keep):])
	s.running = keep
	for s.killed != nil && s.queue.n > 0 {
		s.queue.pop().out.end("", s.killed)
	}
}

func (s *Scheduler) ready() bool {
	for _, q := range s.running {
		if !q.asking {
			return true
		}
	}
	return false
}

// admit starts what there is room for.
func (s *Scheduler) admit() {
	for len(s.running) < s.o.MaxSequences {
		q := s.queue.pop()
		if q == nil {
			return
		}
		q.began = time.Now()
		most := len(q.ids) - 1 // the last row is what the first token comes from
		if q.Choice != nil {
			q.looking, q.sets = true, Sets{}
			most = max(0, min(most, q.Choice.From))
		}
		s.begin(q, most)
		if q.looking && q.cache.Len > 0 {
			q.Choice.Skip(q.cache.Len)
		}
		s.running = append(s.running, q)
	}
}

// begin gives a sequence a cache, with what is known of its first tokens.
func (s *Scheduler) begin(q *sequence, most int) {
	q.cache = nil
	if !q.mean {
		q.cache = s.prefixes.take(s.b.Model, q.sets.Key, q.ids, most, s.running)
	}
	if q.cache == nil {
		q.cache = s.b.Model.NewCache()
	}
	s.stats.Reused += int64(q.cache.Len)
}

// keep keeps a sequence's cache for others.
func (s *Scheduler) keep(q *sequence) {
	if q.cache != nil && !q.mean {
		s.prefixes.put(q.sets.Key, q.ids[:q.cache.Len], q.cache)
	}
}

// end takes sequences out that have come to their end.
func (s *Scheduler) end(q *sequence, stop string, err error) {
	for i, o := range s.running {
		if o == q {
			s.running = append(s.running[:i], s.running[i+1:]...)
			break
		}
	}
	if err == nil {
		s.keep(q)
		took := time.Since(q.began)
		if s.pace == 0 {
			s.pace = took
		}
		s.pace += (took - s.pace) / 16
	}
	q.out.end(stop, err)
}

// ask lets a sequence's Choice decide beside the passes.
func (s *Scheduler) ask(q *sequence) {
	q.asking = true
	go func() {
		sets, err := q.Choice.Decide()
		s.mu.Lock()
		q.answer = &answer{sets, err}
		s.mu.Unlock()
		s.wake.Signal()
	}()
}

// answer is what a Choice decided.
type answer struct {
	sets Sets
	err  error
}

// decide goes on with sequences whose Choice has decided.
func (s *Scheduler) decide() {
	for _, q := range slices.Clone(s.running) {
		a := q.answer
		if a == nil {
			continue
		}
		q.asking, q.looking, q.answer = false, false, nil
		switch {
		case a.err != nil:
			s.end(q, "", a.err)
		case a.sets.Seam != nil: // read again, with what is on
			s.keep(q)
			q.sets = a.sets
			clear(q.sum)
			s.begin(q, len(q.ids)-1)
		case q.mean:
			s.end(q, base.StopLength, nil)
		default: // the last row is computed again, with the same bits, for its logits
			q.sets = a.sets
			q.cache.Truncate(len(q.ids) - 1)
		}
	}
}
