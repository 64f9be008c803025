package kernels

import "sync"

// kept runs a function over parts with operands of type T, and keeps their place, with its function bound once, for the
// next call: handing a closure to a pool's threads would allocate at every call.
type kept[T any] struct{ calls sync.Pool }

type keptCall[T any] struct {
	operands T
	part     func(lo, hi int)
}

// keep returns the runner of f.
func keep[T any](f func(o *T, lo, hi int)) *kept[T] {
	k := &kept[T]{}
	k.calls.New = func() any {
		c := new(keptCall[T])
		c.part = func(lo, hi int) { f(&c.operands, lo, hi) }
		return c
	}
	return k
}

// run is p.Run of the function on those operands.
func (k *kept[T]) run(p *Pool, n, grain int, operands T) {
	c := k.calls.Get().(*keptCall[T])
	c.operands = operands
	p.Run(n, grain, c.part)
	var none T
	c.operands = none
	k.calls.Put(c)
}
