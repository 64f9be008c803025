package kernels

import (
	"sync"
	"sync/atomic"
)

// Pool runs work on a fixed number of goroutines that sleep when there is none. A nil *Pool is valid and runs everything
// on the caller's goroutine. One caller at a time gets the goroutines; another, or a Run within a Run, works alone.
type Pool struct {
	threads int
	busy    atomic.Bool
	wake    chan struct{}
	once    sync.Once
	job     job // of the caller that made the pool busy
}

// job is one Run's work. Its goroutines take parts in turn until none is left.
type job struct {
	n, grain int
	f        func(lo, hi int)
	next     atomic.Int64
	wg       sync.WaitGroup
	panicked atomic.Pointer[any]
}

// NewPool returns a pool of that many threads, the caller's included; Close ends it.
func NewPool(threads int) *Pool {
	p := &Pool{threads: max(1, threads), wake: make(chan struct{})}
	for range p.threads - 1 {
		go func() {
			for range p.wake {
				p.job.work()
				p.job.wg.Done()
			}
		}()
	}
	return p
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
			close(p.wake)
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
	helpers := min(p.threads, (n+grain-1)/grain) - 1
	j.wg.Add(helpers)
	for range helpers {
		p.wake <- struct{}{}
	}
	j.work()
	j.wg.Wait()
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
