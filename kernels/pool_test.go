package kernels

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestPoolCoversEachPartOnce also runs several callers at once: the race detector sees whether they share a job.
func TestPoolCoversEachPartOnce(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 5} {
		p := NewPool(threads)
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for _, n := range []int{0, 1, 2, 7, 100, 1000} {
					for _, grain := range []int{0, 1, 3, 64, 5000} {
						done := make([]int, n)
						p.Run(n, grain, func(lo, hi int) {
							if hi-lo > max(1, grain) {
								t.Errorf("a part of %d with grain %d", hi-lo, grain)
							}
							for i := lo; i < hi; i++ {
								done[i]++
							}
						})
						for i, d := range done {
							if d != 1 {
								t.Errorf("%d threads, n %d, grain %d: part %d ran %d times", threads, n, grain, i, d)
								return
							}
						}
					}
				}
			})
		}
		callers.Wait()
		p.Close()
	}
}

// TestPoolEndsEachJob lets callers and helpers fall asleep at all moments: a Run that returns has done all of its work.
func TestPoolEndsEachJob(t *testing.T) {
	p := NewPool(4)
	defer p.Close()
	for i := range 8000 {
		var n atomic.Int64
		p.Run(8, 1, func(lo, _ int) {
			if lo == 0 && i%2 == 0 {
				time.Sleep(30 * time.Microsecond)
			}
			n.Add(1)
		})
		if n.Load() != 8 {
			t.Fatalf("run %d returned after %d of 8 parts", i, n.Load())
		}
	}
}

func TestPoolWithin(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var sum atomic.Int64
	p.Run(100, 3, func(lo, hi int) {
		p.Run(hi-lo, 1, func(a, b int) { sum.Add(int64(b - a)) })
	})
	if sum.Load() != 100 {
		t.Errorf("a Run within a Run did %d of 100 parts", sum.Load())
	}
}

func TestPoolPanicsInCaller(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	for range 3 { // the pool works on after a panic
		func() {
			defer func() {
				if e := recover(); e != "boom" {
					t.Errorf("the caller's panic is %v", e)
				}
			}()
			p.Run(10, 1, func(lo, _ int) {
				if lo == 7 {
					panic("boom")
				}
			})
		}()
	}
	var n atomic.Int64
	p.Run(10, 1, func(int, int) { n.Add(1) })
	if n.Load() != 10 {
		t.Errorf("after a panic %d of 10 parts ran", n.Load())
	}
}

func TestPoolClosedAndNil(t *testing.T) {
	closed := NewPool(3)
	closed.Close()
	closed.Close()
	for name, p := range map[string]*Pool{"closed": closed, "nil": nil} {
		n := 0
		p.Run(10, 1, func(lo, hi int) { n += hi - lo }) // no race: the caller's goroutine alone
		if n != 10 {
			t.Errorf("a %s pool ran %d of 10 parts", name, n)
		}
	}
	if n := (*Pool)(nil).Threads(); n != 1 {
		t.Errorf("a nil pool has %d threads", n)
	}
	(*Pool)(nil).Close()
}
