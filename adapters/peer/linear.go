package peer

import (
	"fmt"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

var _ llama.Sited = (*pass)(nil)

// FFNInput implements llama.Sited: it selects the cells that gate experts at linear layers.
func (f *pass) FFNInput(block int, x []float32, tokens int) error {
	if !f.stack.routes[block] {
		return nil
	}
	return f.route(f.stack.router.Layer(block), x, tokens)
}

// Linear implements llama.Sited. What it returns serves until it is called again.
func (f *pass) Linear(block int, s llama.Site) llama.Linear {
	l := f.stack.layers[place{block, s}]
	if l == nil {
		return nil
	}
	f.linear = linear{f, l}
	return &f.linear
}

// linear is what a stack does at a linear layer in one pass.
type linear struct {
	pass  *pass
	layer *stackLayer
}

// Before implements llama.Linear.
func (l *linear) Before(x []float32, tokens int) []float32 {
	b := &l.layer.ports[adapters.InIn]
	if b.empty() || l.selected(tokens) != nil { // which After reports
		return x
	}
	f, in := l.pass, l.layer.in
	f.changed = resize(f.changed, tokens*in)
	copy(f.changed, x)
	f.sum(l.layer, b, kernels.Dense(f.changed, tokens, in), kernels.Dense(x, tokens, in))
	return f.changed
}

// After implements llama.Linear.
func (l *linear) After(y []float32, stride int, x []float32, tokens int) error {
	f := l.pass
	ym, xm, err := l.layer.matrices(y, stride, x, tokens)
	if err == nil {
		err = l.selected(tokens)
	}
	if err != nil {
		return err
	}
	if l.Whole() {
		f.kept.keep(ym, xm, !l.layer.ports[adapters.BothOut].empty())
	}
	for port := range l.layer.ports {
		b, p := &l.layer.ports[port], adapters.Port(port)
		if b.empty() || p == adapters.InIn { // which Before has added
			continue
		}
		f.sum(l.layer, b, ym, f.kept.read(p, ym, xm))
	}
	return nil
}

// selected reports cells that experts here wait for and that nothing selected in this pass.
func (l *linear) selected(tokens int) error {
	f := l.pass
	for i := range l.layer.ports {
		if b := &l.layer.ports[i]; len(b.routed) > 0 && (f.routed != l.layer.router.Block || f.routing.Tokens != tokens) {
			return fmt.Errorf("peer: experts in cells of block %d's router, which saw no input in this pass", l.layer.router.Block)
		}
	}
	return nil
}

// Whole implements llama.Linear.
func (l *linear) Whole() bool {
	return !l.layer.ports[adapters.OutOut].empty() || !l.layer.ports[adapters.BothOut].empty()
}

// widths are those of a layer, as far as its tables tell; 0 where none does.
type widths struct{ in, out int }

// learn takes them from a table, and reports one that does not fit the tables before.
func (w *widths) learn(s *Set, t *Table) error {
	in, out := t.Dims.In, t.Dims.Out
	switch t.Kind.Port() {
	case adapters.OutOut:
		in = w.in
	case adapters.InIn:
		out = w.out
	case adapters.BothOut:
		in -= out
	}
	if w.in != 0 && in != w.in || w.out != 0 && out != w.out {
		return fmt.Errorf("peer: set %s: block %d, %s: experts for a layer from width %d to %d beside those for %d to %d: %w", s.Name, t.Block, t.Site, in, out, w.in, w.out, ErrPlace)
	}
	*w = widths{in, out}
	return nil
}

// matrices returns a linear layer's output, a row every stride values, and its input.
func (w widths) matrices(y []float32, stride int, x []float32, tokens int) (ym, xm kernels.Matrix, err error) {
	if tokens < 1 || len(x) < tokens*w.in || stride < w.out || len(y) < (tokens-1)*stride+w.out {
		err = fmt.Errorf("peer: %d values and %d in rows of %d, for %d tokens of widths %d and %d", len(x), len(y), stride, tokens, w.in, w.out)
	}
	return kernels.Matrix{Data: y, Rows: tokens, Cols: w.out, Stride: stride}, kernels.Dense(x, tokens, w.in), err
}
