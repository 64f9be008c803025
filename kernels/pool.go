package kernels

import (
	"runtime"
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

// job is one Run's work. Each goroutine has a share, whose parts it takes one after the other, so that it reads memory as
// it lies; then it helps with the others' shares.
type job struct {
	grain    int
	f        func(lo, hi int)
	shares   []share
	panicked atomic.Pointer[any]
}

// share is a goroutine's part of [0, n), in a cache line of its own.
type share struct {
	next atomic.Int64
	end  int64
	_    [48]byte
}

// NewPool returns a pool of that many threads, the caller's included; Close ends it.
func NewPool(threads int) *Pool {
	p := &Pool{threads: max(1, threads), done: make(chan struct{}, 1)}
	p.helpers, p.job.shares = make([]helper, p.threads-1), make([]share, p.threads)
	for i := range p.helpers {
		h := &p.helpers[i]
		h.wake = make(chan struct{}, 1)
		go p.help(h, i+1)
	}
	return p
}

// spins is how often a goroutine looks for work, or for the end of others' work, before it sleeps: for some 0.8 ms, which is
// longer than what a model computes on one thread between two products, or two tokens.
const spins = 2000

// spinUntil reports whether done became true while it looked.
func spinUntil(done func() bool) bool {
	for i := range spins {
		if done() {
			return true
		}
		rest(i)
	}
	return done()
}

// rest waits a moment, now and then for other goroutines to run, which may be more than processors.
func rest(i int) {
	if i%256 == 255 {
		runtime.Gosched()
	} else {
		pause()
	}
}

func (p *Pool) help(h *helper, own int) {
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
		p.job.work(own)
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
	for i := range spins {
		if p.pending.Load() == 0 {
			return
		}
		rest(i)
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
	j.grain, j.f = grain, f
	parts := (n + grain - 1) / grain
	for i := range j.shares {
		j.shares[i].next.Store(int64(parts * i / p.threads * grain))
		j.shares[i].end = int64(min(n, parts*(i+1)/p.threads*grain))
	}
	j.panicked.Store(nil)
	p.start()
	j.work(0)
	p.wait()
	j.f = nil
	e := j.panicked.Load()
	p.busy.Store(false)
	if e != nil {
		panic(*e)
	}
}

// work does the own share, then what is left of the others'.
func (j *job) work(own int) {
	defer j.keepPanic()
	for i := range j.shares {
		s := &j.shares[(own+i)%len(j.shares)]
		for {
			hi := s.next.Add(int64(j.grain))
			lo := hi - int64(j.grain)
			if lo >= s.end {
				break
			}
			j.f(int(lo), int(min(hi, s.end)))
		}
	}
}

func (j *job) keepPanic() {
	if e := recover(); e != nil {
		first := e // a copy that only a panic moves to the heap
		j.panicked.CompareAndSwap(nil, &first)
	}
}
