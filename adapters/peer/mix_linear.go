package peer

import "github.com/gopeft/peft/base/llama"

// mixLinear is what a mix does at a linear layer.
type mixLinear mixPass

// mixedLinear is a mixLinear of which some parts must have the layer's own output and others not.
type mixedLinear struct{ *mixLinear }

// Linear implements llama.Sited. What it returns serves until it is called again.
func (m *mixPass) Linear(block int, s llama.Site) llama.Linear {
	some, whole, apart := false, 0, 0
	for i := range m.parts {
		p := &m.parts[i]
		if p.linear = nil; p.sited != nil {
			p.linear = p.sited.Linear(block, s)
		}
		some = some || p.linear != nil
		if p.linear != nil && p.linear.Whole() {
			whole++
		} else {
			apart++
		}
	}
	m.whole = whole > 0
	switch {
	case !some:
		return nil
	case whole > 0 && apart > 0:
		m.mixed.mixLinear = (*mixLinear)(m)
		return &m.mixed
	}
	return (*mixLinear)(m)
}

// Whole implements llama.Linear.
func (l *mixLinear) Whole() bool { return l.whole }

// Run implements llama.Mixed.
func (l *mixedLinear) Run(row int) (llama.Linear, int) {
	for i := range l.parts {
		if p := &l.parts[i]; p.from == row && p.to > row {
			return p.linear, p.to - row
		}
	}
	return nil, 1 // of rows beyond the parts, which FFNInput and Forward report
}

// Before implements llama.Linear.
func (l *mixLinear) Before(x []float32, tokens int) []float32 {
	if tokens != l.tokens || tokens == 0 { // which After reports
		return x
	}
	read, in := x, len(x)/tokens
	for i := range l.parts {
		p := &l.parts[i]
		if p.linear == nil || p.from == p.to {
			continue
		}
		own := x[p.from*in : p.to*in]
		changed := p.linear.Before(own, p.to-p.from)
		if &changed[0] == &own[0] {
			continue
		}
		if &read[0] == &x[0] {
			l.changed = resize(l.changed, len(x))
			copy(l.changed, x)
			read = l.changed
		}
		copy(read[p.from*in:], changed)
	}
	return read
}

// After implements llama.Linear.
func (l *mixLinear) After(y []float32, stride int, x []float32, tokens int) error {
	m := (*mixPass)(l)
	if err := m.check(tokens); err != nil || tokens == 0 {
		return err
	}
	m.y, m.x, m.stride, m.in = y, x, stride, len(x)/tokens
	m.each(m.afters, (*mixPass).after)
	return m.failed()
}

func (m *mixPass) after(p *mixPart) {
	if p.linear != nil && p.to > p.from {
		p.err = p.linear.After(m.y[p.from*m.stride:min(len(m.y), p.to*m.stride)], m.stride, m.x[p.from*m.in:p.to*m.in], p.to-p.from)
	}
}

func (m *mixPass) afterStacks(lo, hi int) {
	for _, i := range m.stacks[lo:hi] {
		m.after(&m.parts[i])
	}
}
