package kernels

import (
	"sync"
	"sync/atomic"
)

// Pool runs work on a fixed number of goroutines that sleep when there is none, a moment after the last: what comes one
// upon the other, as in the layers of a model, does not wait for the system to wake them. A nil *Pool is valid and runs
// everything on the caller's goroutine. One caller at a time gets the goroutines; another, or a Run within a Run, works
// alone.
type Pool struct {
	threads int
	busy    atomic.Bool
	closed  atomic.Bool
	once    sync.Once

	job     job           // of the caller that made the pool busy
	jobs    atomic.Uint64 // how many there were; a change starts the helpers
	pending atomic.Int32  // helpers that have not ended the last one
	helpers []helper
	waits   atomic.Bool   // the caller sleeps until pending is 0
	done    chan struct{} // and is woken here
}

// helper is one goroutine's sleep.
type helper struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// job is one Run's work. Its goroutines take parts in turn until none is left.
type job struct {
	n, grain int
	f        func(lo, hi int)
	next     atomic.Int64
	panicked atomic.Pointer[any]
}

// NewPool returns a pool of that many threads, the caller's included; Close ends it.
func NewPool(threads int) *Pool {
	p := &Pool{threads: max(1, threads), done: make(chan struct{}, 1)}
	p.helpers = make([]helper, p.threads-1)
	for i := range p.helpers {
		h := &p.helpers[i]
		h.wake = make(chan struct{}, 1)
		go p.help(h)
	}
	return p
}

// spins is how often a goroutine looks for work, or for the end of others' work, before it sleeps: some 20 µs.
const spins = 50

// spinUntil reports whether done became true while it looked.
func spinUntil(done func() bool) bool {
	for range spins {
		if done() {
			return true
		}
		pause()
	}
	return done()
}

func (p *Pool) help(h *helper) {
	seen := uint64(0)
	news := func() bool { return p.jobs.Load() != seen }
	for {
		for !spinUntil(news) {
			h.asleep.Store(true)
			// A job that came before the caller could see this helper asleep is taken up at once; otherwise the
			// caller has sent, or will send, a wake. It may be the wake for a job that the helper took up without
			// it, so that it looks again.
			if !news() || !h.asleep.CompareAndSwap(true, false) {
				<-h.wake
			}
		}
		seen++
		if p.closed.Load() {
			return
		}
		p.job.work()
		if p.pending.Add(-1) == 0 && p.waits.CompareAndSwap(true, false) {
			p.done <- struct{}{}
		}
	}
}

// start lets the helpers look at the job.
func (p *Pool) start() {
	p.pending.Store(int32(len(p.helpers)))
	p.jobs.Add(1)
	for i := range p.helpers {
		if h := &p.helpers[i]; h.asleep.CompareAndSwap(true, false) {
			h.wake <- struct{}{}
		}
	}
}

// wait returns when all helpers have ended the job. A helper that ended the last job may find the caller asleep in this
// one and wake it too early, so that it looks again.
func (p *Pool) wait() {
	for range spins {
		if p.pending.Load() == 0 {
			return
		}
		pause()
	}
	for p.pending.Load() > 0 {
		p.waits.Store(true)
		if p.pending.Load() > 0 || !p.waits.CompareAndSwap(true, false) {
			<-p.done
		}
	}
}

// Threads returns the number of threads; 1 for nil.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the pool's goroutines; later Runs work on the caller's alone. The pool must be idle.
func (p *Pool) Close() {
	if p != nil {
		p.once.Do(func() {
			p.busy.Store(true)
			p.closed.Store(true)
			p.start()
		})
	}
}

// Run calls f with parts [lo, hi) of [0, n) of at most grain each, whose order is not defined, and returns when all are
// done. It allocates nothing. A panic in f is raised again in the caller.
func (p *Pool) Run(n, grain int, f func(lo, hi int)) {
	if n <= 0 {
		return
	}
	grain = max(1, grain)
	if p == nil || p.threads == 1 || n <= grain || !p.busy.CompareAndSwap(false, true) {
		for lo := 0; lo < n; lo += grain {
			f(lo, min(lo+grain, n))
		}
		return
	}
	j := &p.job
	j.n, j.grain, j.f = n, grain, f
	j.next.Store(0)
	j.panicked.Store(nil)
	p.start()
	j.work()
	p.wait()
	j.f = nil
	e := j.panicked.Load()
	p.busy.Store(false)
	if e != nil {
		panic(*e)
	}
}

func (j *job) work() {
	defer j.keepPanic()
	for {
		lo := int(j.next.Add(int64(j.grain))) - j.grain
		if lo >= j.n {
			return
		}
		j.f(lo, min(lo+j.grain, j.n))
	}
}

func (j *job) keepPanic() {
	if e := recover(); e != nil {
		first := e // a copy that only a panic moves to the heap
		j.panicked.CompareAndSwap(nil, &first)
	}
}
