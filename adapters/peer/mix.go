package peer

import (
	"fmt"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// fewRows is how many rows of a part of a Mix are too few to be shared by the threads: such parts are worked on side by side.
const fewRows = 16

// Mix is the seam of a pass over sequences of which each may have other sets. Every row gets the bits that it gets with its
// part's seam alone. A block's router is asked once for adjacent parts with stacks, so that the base alone costs nothing
// and many stacks little more than one. One goroutine at a time may use it; it allocates nothing when its Parts have been
// as many before.
type Mix struct {
	Parts []Part // in order of rows
	Usage *Usage // counts what the parts' rows select; may be nil

	pass mixPass
}

// Part is the seam of some rows: a *Stack, a *Provenance, or another that is no llama.Observer; nil for the base alone.
type Part struct {
	Seam   llama.Seam
	Tokens int
}

var (
	_ llama.Passing = (*Mix)(nil)
	_ llama.Sited   = (*mixPass)(nil)
	_ llama.Watcher = (*mixPass)(nil)
	_ llama.Mixed   = (*mixedLinear)(nil)
)

// mixPass is a mix in one pass.
type mixPass struct {
	parts    []mixPart
	stacks   []int // parts with few rows that are stacks
	usage    *Usage
	tokens   int
	routed   int                  // the block whose selections are in routings; -1 for none
	routings []*retrieval.Routing // of runs of parts
	changed  []float32            // a linear layer's input where some parts changed theirs
	whole    bool                 // whether a part must have the current linear layer's own output
	mixed    mixedLinear

	// What is worked on, and the functions bound once, so that a call allocates nothing.
	block            int
	y, x             []float32
	stride, in       int
	forwards, afters func(lo, hi int)
}

// mixPart is adjacent rows [from, to) of one seam.
type mixPart struct {
	seam     llama.Seam // nil for the base alone
	end      llama.Pass // what Begin gave; nil where seam is itself
	stack    *pass      // seam as that; nil when it is none
	sited    llama.Sited
	linear   llama.Linear // at the current layer
	from, to int
	err      error
}

// Begin implements llama.Passing.
func (m *Mix) Begin() llama.Pass {
	p := &m.pass
	if p.forwards == nil {
		p.forwards, p.afters = p.forwardStacks, p.afterStacks
	}
	p.parts, p.stacks, p.usage, p.tokens, p.routed = p.parts[:0], p.stacks[:0], m.Usage, 0, -1
	for i, part := range m.Parts {
		from := p.tokens
		p.tokens += part.Tokens
		if i > 0 && same(part.Seam, m.Parts[i-1].Seam) {
			p.parts[len(p.parts)-1].to = p.tokens
			continue
		}
		p.parts = append(p.parts, mixPart{from: from, to: p.tokens})
		p.parts[len(p.parts)-1].begin(part.Seam)
	}
	for i := range p.parts {
		if a := &p.parts[i]; a.stack != nil && a.to-a.from < fewRows {
			p.stacks = append(p.stacks, i)
		}
	}
	return p
}

// same reports whether rows of two seams are as rows of one.
func same(a, b llama.Seam) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	s, ok := a.(*Stack)
	t, also := b.(*Stack)
	return ok && also && s == t
}

func (a *mixPart) begin(s llama.Seam) {
	switch s := s.(type) {
	case nil:
	case interface{ begin() *pass }: // a Stack or a Provenance
		a.stack = s.begin()
		a.seam, a.end, a.sited = a.stack, a.stack, a.stack
	case llama.Passing:
		a.end = s.Begin()
		a.seam = a.end
		a.sited, _ = a.end.(llama.Sited)
	default:
		a.seam = s
		a.sited, _ = s.(llama.Sited)
	}
}

// Forward implements llama.Seam: a pass of one block. What the parts change at linear layers is for Begin.
func (m *Mix) Forward(block int, y, x []float32, tokens int) error {
	p := m.Begin()
	defer p.End()
	return p.Forward(block, y, x, tokens)
}

// End implements llama.Pass.
func (m *mixPass) End() {
	for i := range m.parts {
		if p := &m.parts[i]; p.end != nil {
			p.end.End()
		}
	}
	clear(m.parts)
	m.y, m.x = nil, nil
}

// check reports rows that are not those of the parts.
func (m *mixPass) check(tokens int) error {
	if tokens != m.tokens {
		return fmt.Errorf("peer: a mix of %d rows in a pass of %d", m.tokens, tokens)
	}
	return nil
}

// Watch implements llama.Watcher.
func (m *mixPass) Watch(block int, stream []float32, tokens int) {
	hid := len(stream) / max(1, tokens)
	for i := range m.parts {
		p := &m.parts[i]
		if w, ok := p.seam.(llama.Watcher); ok && p.to <= tokens {
			w.Watch(block, stream[p.from*hid:p.to*hid], p.to-p.from)
		}
	}
}

// FFNInput implements llama.Sited: it selects cells for all stacks.
func (m *mixPass) FFNInput(block int, x []float32, tokens int) error {
	if err := m.check(tokens); err != nil {
		return err
	}
	if err := m.route(block, x); err != nil {
		return err
	}
	hid := len(x) / max(1, tokens)
	for i := range m.parts {
		p := &m.parts[i]
		if p.sited == nil || p.stack != nil {
			continue
		}
		if err := p.sited.FFNInput(block, x[p.from*hid:p.to*hid], p.to-p.from); err != nil {
			return err
		}
	}
	return nil
}

// route lets each run of adjacent stacks that a block's router selects for have its cells from one call, unless that was done.
func (m *mixPass) route(block int, x []float32) error {
	if m.routed == block {
		return nil
	}
	m.routed = block
	runs := 0
	for i := 0; i < len(m.parts); {
		first, l := &m.parts[i], m.parts[i].selects(block)
		next := i + 1
		for next < len(m.parts) && l != nil && m.parts[next].selects(block) == l {
			next++
		}
		run := m.parts[i:next]
		i = next
		if l == nil {
			continue
		}
		to := run[len(run)-1].to
		if len(x) < to*l.Hidden {
			return fmt.Errorf("peer: block %d: %d values for %d tokens of width %d", block, len(x), m.tokens, l.Hidden)
		}
		if to == first.from {
			continue
		}
		if runs == len(m.routings) {
			m.routings = append(m.routings, new(retrieval.Routing))
		}
		r := m.routings[runs]
		runs++
		l.Route(first.stack.stack.pool, r, x[first.from*l.Hidden:to*l.Hidden], to-first.from)
		m.usage.add(l, r)
		for j := range run {
			run[j].stack.share(block, r, run[j].from-first.from, run[j].to-first.from)
		}
	}
	return nil
}

// selects returns the block's layer when the part's stack needs what it selects; otherwise nil.
func (a *mixPart) selects(block int) *retrieval.Layer {
	if a.stack == nil {
		return nil
	}
	s := a.stack.stack
	if l := s.layers[place{block, llama.Beside}]; l != nil {
		return l.router
	}
	if s.routes[block] {
		return s.router.Layer(block)
	}
	return nil
}

// Forward implements llama.Seam.
func (m *mixPass) Forward(block int, y, x []float32, tokens int) error {
	if err := m.check(tokens); err != nil || tokens == 0 {
		return err
	}
	if err := m.route(block, x); err != nil {
		return err
	}
	m.block, m.y, m.x, m.stride, m.in = block, y, x, len(y)/tokens, len(x)/tokens
	m.each(m.forwards, (*mixPass).forward)
	return m.failed()
}

func (m *mixPass) forward(p *mixPart) {
	if p.seam != nil {
		p.err = p.seam.Forward(m.block, m.y[p.from*m.stride:p.to*m.stride], m.x[p.from*m.in:p.to*m.in], p.to-p.from)
	}
}

// each does the work of all parts: those of few rows side by side, then the others one after the other.
func (m *mixPass) each(side func(lo, hi int), work func(*mixPass, *mixPart)) {
	if len(m.stacks) > 0 {
		m.parts[m.stacks[0]].stack.stack.pool.Run(len(m.stacks), 1, side)
	}
	for i := range m.parts {
		if p := &m.parts[i]; p.stack == nil || p.to-p.from >= fewRows {
			work(m, p)
		}
	}
}

func (m *mixPass) forwardStacks(lo, hi int) {
	for _, i := range m.stacks[lo:hi] {
		m.forward(&m.parts[i])
	}
}

// failed returns the first part's error.
func (m *mixPass) failed() error {
	for i := range m.parts {
		if err := m.parts[i].err; err != nil {
			return err
		}
	}
	return nil
}
