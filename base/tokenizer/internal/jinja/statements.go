package jinja

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// statement is a block {% … %} as our parsers make it.
type statement interface {
	nodes.ControlStructure
	run(f *frame) error
}

// place makes a node of a statement.
type place struct{ token *tokens.Token }

// Position is where the statement begins.
func (p place) Position() *tokens.Token { return p.token }

// String is for errors of the parser.
func (p place) String() string { return "statement" }

// syntax parses the statements of one template. There are no others than these: none that loads another template, calls
// with a block, or evaluates for its effect.
type syntax struct{ nesting, loops int }

// Get returns the parser of a statement.
func (s *syntax) Get(name string) (parser.ControlStructureParser, bool) {
	parse, ok := map[string]parser.ControlStructureParser{
		"if": s.parseIf, "for": s.parseFor, "set": s.parseSet, "macro": s.parseMacro,
		"raw": parseScope("endraw"), "generation": parseScope("endgeneration"), // which marks what the assistant wrote, for training
		"break": s.parseJump(errBreak), "continue": s.parseJump(errContinue),
	}[name]
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		if s.nesting == maxNesting {
			return nil, fmt.Errorf("more than %d statements within each other: %w", maxNesting, ErrLimit)
		}
		s.nesting++
		defer func() { s.nesting-- }()
		n, err := parse(p, args)
		if err == nil && !args.End() {
			err = args.Error("unexpected "+args.Current().Val, args.Current())
		}
		return n, err
	}, ok
}

type ifStatement struct {
	place
	conditions []nodes.Expression
	bodies     []*nodes.Wrapper // one more than conditions if there is an else
}

func (s *syntax) parseIf(p, args *parser.Parser) (nodes.ControlStructure, error) {
	n := &ifStatement{place: place{p.Current()}}
	for rest := args; ; {
		condition, err := rest.ParseExpression()
		if err != nil {
			return nil, err
		}
		body, end, err := p.WrapUntil("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		n.conditions, n.bodies = append(n.conditions, condition), append(n.bodies, body)
		if rest != args && !rest.End() {
			return nil, rest.Error("malformed condition", rest.Current())
		}
		if body.EndTag == "elif" {
			rest = end
			continue
		}
		if body.EndTag == "else" {
			if body, _, err = p.WrapUntil("endif"); err != nil {
				return nil, err
			}
			n.bodies = append(n.bodies, body)
		}
		return n, nil
	}
}

func (n *ifStatement) run(f *frame) error {
	for i, c := range n.conditions {
		v, err := f.eval(c)
		if err != nil {
			return err
		}
		if truth(v) {
			return f.exec(n.bodies[i].Nodes)
		}
	}
	if len(n.bodies) > len(n.conditions) {
		return f.exec(n.bodies[len(n.conditions)].Nodes)
	}
	return nil
}

// setStatement gives a value to a variable or to an attribute of a namespace.
type setStatement struct {
	place
	name, attribute               string
	value, condition, alternative nodes.Expression
	body                          *nodes.Wrapper // in place of the value
}

func (s *syntax) parseSet(p, args *parser.Parser) (nodes.ControlStructure, error) {
	n := &setStatement{place: place{p.Current()}}
	name := args.Match(tokens.Name)
	if name == nil {
		return nil, args.Error("set needs a name", args.Current())
	}
	n.name = name.Val
	if args.Match(tokens.Dot) != nil {
		if name = args.Match(tokens.Name); name == nil {
			return nil, args.Error("set needs the name of an attribute", args.Current())
		}
		n.attribute = name.Val
	}
	var err error
	if args.Match(tokens.Assign) == nil {
		n.body, _, err = p.WrapUntil("endset")
		return n, err
	}
	if n.value, err = args.ParseExpression(); err != nil {
		return nil, err
	}
	n.condition, n.alternative, err = args.ParseCondition()
	return n, err
}

func (n *setStatement) run(f *frame) error {
	if err := f.charge(costScope); err != nil {
		return err
	}
	var v any
	var err error
	if n.body != nil {
		v, err = f.capture(n.body, f.inner().vars)
	} else {
		v, err = f.choose(n.value, n.condition, n.alternative)
	}
	if err != nil {
		return err
	}
	if n.attribute == "" {
		f.vars.set(n.name, v)
		return nil
	}
	of, _ := f.vars.get(n.name)
	ns, ok := of.(*namespace)
	if !ok {
		return fmt.Errorf("set %s.%s: %s is %s, only attributes of a namespace can be set", n.name, n.attribute, n.name, typeOf(of))
	}
	ns.vars[n.attribute] = v
	return nil
}

// capture runs a body and returns what it writes.
func (f *frame) capture(body *nodes.Wrapper, vars *scope) (string, error) {
	sub := &frame{f.run, vars, new(strings.Builder)}
	err := sub.exec(body.Nodes)
	return sub.out.String(), err
}

type macroStatement struct {
	place
	name     string
	params   []string
	defaults []nodes.Expression // nil where there is none
	body     *nodes.Wrapper
}

func (s *syntax) parseMacro(p, args *parser.Parser) (nodes.ControlStructure, error) {
	n := &macroStatement{place: place{p.Current()}}
	name := args.Match(tokens.Name)
	if name == nil || args.Match(tokens.LeftParenthesis) == nil {
		return nil, args.Error("macro needs a name and parentheses", args.Current())
	}
	n.name = name.Val
	for args.Match(tokens.RightParenthesis) == nil {
		if len(n.params) > 0 && args.Match(tokens.Comma) == nil {
			return nil, args.Error("expected , or )", args.Current())
		}
		param := args.Match(tokens.Name)
		if param == nil {
			return nil, args.Error("expected the name of a parameter", args.Current())
		}
		var value nodes.Expression
		if args.Match(tokens.Assign) != nil {
			var err error
			if value, err = args.ParseExpression(); err != nil {
				return nil, err
			}
		}
		n.params, n.defaults = append(n.params, param.Val), append(n.defaults, value)
	}
	loops := s.loops
	s.loops = 0
	defer func() { s.loops = loops }()
	var err error
	n.body, _, err = p.WrapUntil("endmacro")
	return n, err
}

func (n *macroStatement) run(f *frame) error {
	if err := f.charge(costScope); err != nil {
		return err
	}
	f.vars.set(n.name, &function{n.name, func(caller *frame, a *args) (any, error) {
		given, err := a.bind(n.params...)
		if err != nil {
			return nil, err
		}
		if err := caller.repeated(1+len(n.params), costScope); err != nil {
			return nil, err
		}
		sub := f.inner()
		for i, v := range given {
			if isUndefined(v) && n.defaults[i] != nil {
				if v, err = sub.eval(n.defaults[i]); err != nil {
					return nil, err
				}
			}
			sub.vars.set(n.params[i], v)
		}
		return sub.capture(n.body, sub.vars)
	}})
	return nil
}

// scopeStatement is a body with variables of its own.
type scopeStatement struct {
	place
	body *nodes.Wrapper
}

func parseScope(end string) parser.ControlStructureParser {
	return func(p, _ *parser.Parser) (nodes.ControlStructure, error) {
		n := &scopeStatement{place: place{p.Current()}}
		var err error
		n.body, _, err = p.WrapUntil(end)
		return n, err
	}
}

func (n *scopeStatement) run(f *frame) error { return f.inner().exec(n.body.Nodes) }

var (
	errBreak    = errors.New("break")
	errContinue = errors.New("continue")
)

// jump leaves the body of a loop.
type jump struct {
	place
	err error
}

func (s *syntax) parseJump(err error) parser.ControlStructureParser {
	return func(p, _ *parser.Parser) (nodes.ControlStructure, error) {
		if s.loops == 0 {
			return nil, p.Error(err.Error()+" outside a loop", p.Current())
		}
		return &jump{place{p.Current()}, err}, nil
	}
}

func (n *jump) run(*frame) error { return n.err }
