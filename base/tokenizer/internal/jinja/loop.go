package jinja

import "errors"

type forStatement struct {
	names       []string
	list, only  expr  // only is nil or the condition of "if"
	body, empty block // empty is the body of "else"
}

func (p *parser) forStatement() statement {
	n := forStatement{names: p.names()}
	p.expect(name, "in")
	n.list = p.or()
	if _, ok := p.accept(name, "if"); ok {
		n.only = p.expression()
	}
	if _, ok := p.accept(name, "recursive"); ok {
		p.fail("recursive loop: %w", ErrUnsupported)
	}
	p.loops++
	body, word := p.inner("else", "endfor")
	p.loops--
	n.body = body
	if word == "else" {
		n.empty, _ = p.inner("endfor")
	}
	return n
}

func (n forStatement) run(f *frame) error {
	v, err := f.eval(n.list)
	if err != nil {
		return err
	}
	list, err := f.list(v)
	if err != nil {
		return err
	}
	if n.only != nil {
		if list, err = n.filter(f, list); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return f.inner().exec(n.empty)
	}
	l := &loop{list: list}
	for i, item := range list {
		l.index = i
		sub, err := n.turn(f, item)
		if err != nil {
			return err
		}
		sub.vars.set("loop", l)
		err = sub.exec(n.body)
		if errors.Is(err, errBreak) {
			break
		}
		if err != nil && !errors.Is(err, errContinue) {
			return err
		}
	}
	return nil
}

// turn is a frame with the variables of the loop.
func (n forStatement) turn(f *frame, item any) (*frame, error) {
	sub := f.inner()
	if err := f.charge(costScope); err != nil {
		return nil, err
	}
	return sub, sub.assign(n.names, item)
}

func (n forStatement) filter(f *frame, list []any) ([]any, error) {
	var kept []any
	for _, item := range list {
		sub, err := n.turn(f, item)
		if err != nil {
			return nil, err
		}
		v, err := sub.eval(n.only)
		if err != nil {
			return nil, err
		}
		if truth(v) {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

// loop is the variable of that name in a loop.
type loop struct {
	list  []any
	index int // from 0
}

func (l *loop) attribute(name string) any {
	n := len(l.list)
	switch name {
	case "index":
		return l.index + 1
	case "index0":
		return l.index
	case "revindex":
		return n - l.index
	case "revindex0":
		return n - l.index - 1
	case "first":
		return l.index == 0
	case "last":
		return l.index == n-1
	case "length":
		return n
	case "depth": // of recursive loops, which there are none of
		return 1
	case "depth0":
		return 0
	case "previtem":
		if l.index > 0 {
			return l.list[l.index-1]
		}
	case "nextitem":
		if l.index < n-1 {
			return l.list[l.index+1]
		}
	case "cycle":
		return &function{name, func(_ *frame, a *args) (any, error) {
			if len(a.pos) == 0 {
				return nil, errors.New("no values")
			}
			return a.pos[l.index%len(a.pos)], nil
		}}
	}
	return undefined{name}
}
