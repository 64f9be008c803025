package jinja

import (
	"errors"
	"fmt"

	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

type forStatement struct {
	place
	names       []string
	list, only  nodes.Expression // only is nil or the condition of "if"
	body, empty *nodes.Wrapper   // empty is nil or the body of "else"
}

func (s *syntax) parseFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	n := &forStatement{place: place{p.Current()}}
	for {
		name := args.Match(tokens.Name)
		if name == nil {
			return nil, args.Error("for needs a name", args.Current())
		}
		n.names = append(n.names, name.Val)
		if args.Match(tokens.Comma) == nil {
			break
		}
	}
	if args.Match(tokens.In) == nil {
		return nil, args.Error("for needs in", args.Current())
	}
	var err error
	if n.list, err = args.ParseExpression(); err != nil {
		return nil, err
	}
	if args.MatchName("if") != nil {
		if n.only, err = args.ParseExpression(); err != nil {
			return nil, err
		}
	}
	if args.MatchName("recursive") != nil {
		return nil, fmt.Errorf("recursive loop: %w", ErrUnsupported)
	}
	s.loops++
	n.body, _, err = p.WrapUntil("else", "endfor")
	s.loops--
	if err == nil && n.body.EndTag == "else" {
		n.empty, _, err = p.WrapUntil("endfor")
	}
	return n, err
}

func (n *forStatement) run(f *frame) error {
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
	if len(list) == 0 && n.empty != nil {
		return f.inner().exec(n.empty.Nodes)
	}
	l := &loop{list: list}
	for i, item := range list {
		l.index = i
		sub, err := n.turn(f, item)
		if err != nil {
			return err
		}
		sub.vars.set("loop", l)
		err = sub.exec(n.body.Nodes)
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
func (n *forStatement) turn(f *frame, item any) (*frame, error) {
	if err := f.repeated(1+len(n.names), costScope); err != nil {
		return nil, err
	}
	sub := f.inner()
	if len(n.names) == 1 {
		sub.vars.set(n.names[0], item)
		return sub, nil
	}
	parts, ok := item.([]any)
	if !ok || len(parts) != len(n.names) {
		return nil, fmt.Errorf("cannot unpack %s into %d variables", typeOf(item), len(n.names))
	}
	for i, name := range n.names {
		sub.vars.set(name, parts[i])
	}
	return sub, nil
}

func (n *forStatement) filter(f *frame, list []any) ([]any, error) {
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
