package peer

import (
	"fmt"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// Before implements llama.Linear.
func (l *TrainLayer) Before(x []float32, tokens int) []float32 {
	b := l.banks[adapters.InIn]
	if b == nil {
		return x
	}
	n := tokens * l.in
	l.changed = resize(l.changed, n)
	copy(l.changed, x)
	if l.selected(tokens) == nil { // After reports the other case
		_ = b.forward(kernels.Dense(l.changed, tokens, l.in), kernels.Dense(x, tokens, l.in)) // likewise too many tokens
	}
	return l.changed
}

// After implements llama.Linear.
func (l *TrainLayer) After(y []float32, stride int, x []float32, tokens int) error {
	ym, xm, err := l.matrices(y, stride, x, tokens)
	if err == nil {
		err = l.selected(tokens)
	}
	if err != nil {
		return err
	}
	l.tokens = tokens
	if l.Whole() {
		l.own.keep(ym, xm, l.banks[adapters.BothOut] != nil)
	}
	for port, b := range l.banks {
		p := adapters.Port(port)
		if b == nil || p == adapters.InIn { // which Before has added
			continue
		}
		if err := b.forward(ym, l.own.read(p, ym, xm)); err != nil {
			return err
		}
	}
	return nil
}

// Whole implements llama.Linear.
func (l *TrainLayer) Whole() bool {
	return l.banks[adapters.OutOut] != nil || l.banks[adapters.BothOut] != nil
}

// selected reports cells that experts here wait for and that nothing selected.
func (l *TrainLayer) selected(tokens int) error {
	if l.selection != nil && l.Routing().Tokens != tokens {
		return fmt.Errorf("peer: block %d, %s: cells are selected for %d tokens, not for %d", l.block, l.site, l.Routing().Tokens, tokens)
	}
	return nil
}

// BackwardAfter makes of dy, the gradient with respect to what After left, that with respect to what it got, in place, and
// keeps the trained rows' gradient. dy: [tokens, out], a row every stride values.
func (l *TrainLayer) BackwardAfter(dy []float32, stride int) error {
	d, _, err := widths{0, l.out}.matrices(dy, stride, nil, l.tokens)
	if err != nil {
		return err
	}
	l.grad = nil
	for _, port := range []adapters.Port{adapters.InOut, adapters.OutOut, adapters.BothOut} {
		if b := l.banks[port]; b != nil {
			if g := b.backward(d); g != nil {
				l.grad = g
			}
		}
	}
	l.dy = d
	if !l.Whole() {
		return nil
	}
	// All read dy before one changes it.
	l.dIn = resize(l.dIn, l.tokens*l.in)
	clear(l.dIn)
	if b := l.banks[adapters.InOut]; b != nil {
		b.backwardInput(kernels.Dense(l.dIn, l.tokens, l.in), d)
	}
	l.dOwn = resize(l.dOwn, l.tokens*l.out)
	clear(l.dOwn)
	own := kernels.Dense(l.dOwn, l.tokens, l.out)
	if b := l.banks[adapters.OutOut]; b != nil {
		b.backwardInput(own, d)
	}
	if b := l.banks[adapters.BothOut]; b != nil {
		l.dBoth = resize(l.dBoth, l.tokens*(l.in+l.out))
		clear(l.dBoth)
		both := kernels.Dense(l.dBoth, l.tokens, l.in+l.out)
		b.backwardInput(both, d)
		for i := range l.tokens {
			kernels.Add(l.dIn[i*l.in:(i+1)*l.in], l.dIn[i*l.in:(i+1)*l.in], both.Row(i)[:l.in])
			kernels.Add(own.Row(i), own.Row(i), both.Row(i)[l.in:])
		}
	}
	for i := range l.tokens {
		kernels.Add(d.Row(i), d.Row(i), own.Row(i))
	}
	return nil
}

// ChangesInput reports whether experts change what the layer's product reads, so that BackwardBefore needs the gradient
// with respect to that.
func (l *TrainLayer) ChangesInput() bool { return l.banks[adapters.InIn] != nil }

// BackwardBefore makes of dx, the gradient with respect to what the product read, that with respect to the layer's own
// input, in place. dx: [tokens, in]. It comes after BackwardAfter.
func (l *TrainLayer) BackwardBefore(dx []float32) error {
	n := l.tokens * l.in
	if l.in == 0 {
		return nil
	}
	if len(dx) < n {
		return fmt.Errorf("peer: block %d, %s: a gradient of %d values for %d tokens of width %d", l.block, l.site, len(dx), l.tokens, l.in)
	}
	d := kernels.Dense(dx, l.tokens, l.in)
	if b := l.banks[adapters.InIn]; b != nil {
		l.dRead = append(l.dRead[:0], dx[:n]...)
		read := kernels.Dense(l.dRead, l.tokens, l.in)
		if g := b.backward(read); g != nil {
			l.grad = g
		}
		b.backwardInput(d, read)
	}
	switch b := l.banks[adapters.InOut]; {
	case l.Whole():
		kernels.Add(dx[:n], dx[:n], l.dIn)
	case b != nil:
		b.backwardInput(d, l.dy)
	}
	return nil
}
