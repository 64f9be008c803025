package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// block is what runs one after the other.
type block []line

type line struct {
	number int
	statement
}

type statement interface {
	run(f *frame) error
}

// exec runs a block.
func (f *frame) exec(b block) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	for _, l := range b {
		err := f.charge(costStep)
		if err == nil {
			err = l.run(f)
		}
		if err != nil {
			return at(l.number, err)
		}
	}
	return nil
}

// statement parses a statement after its name and up to its end. There are no others than these: none that loads another
// template, calls with a block, or evaluates for its effect.
func (p *parser) statement(word string) statement {
	switch word {
	case "if":
		return p.ifStatement()
	case "for":
		return p.forStatement()
	case "set":
		return p.setStatement()
	case "macro":
		return p.macroStatement()
	case "raw", "generation": // the latter marks what the assistant wrote, for training
		body, _ := p.inner("end" + word)
		return scopeStatement(body)
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s outside a loop", word)
		}
		if word == "break" {
			return jump{errBreak}
		}
		return jump{errContinue}
	}
	p.fail("statement %.40s: %w", word, ErrUnsupported)
	return scopeStatement(nil)
}

type plainText string

func (s plainText) run(f *frame) error { return f.write(string(s)) }

// output is {{ … }}.
type output struct{ of expr }

func (o output) run(f *frame) error {
	v, err := f.eval(o.of)
	if err != nil {
		return err
	}
	s, err := f.text(v)
	if err != nil {
		return err
	}
	return f.write(s)
}

type ifStatement struct {
	conditions []expr
	bodies     []block // one more than conditions if there is an else
}

func (p *parser) ifStatement() statement {
	n := ifStatement{}
	for {
		n.conditions = append(n.conditions, p.expressions())
		body, word := p.inner("elif", "else", "endif")
		n.bodies = append(n.bodies, body)
		if word == "else" {
			body, word = p.inner("endif")
			n.bodies = append(n.bodies, body)
		}
		if word != "elif" {
			return n
		}
	}
}

func (n ifStatement) run(f *frame) error {
	for i, c := range n.conditions {
		v, err := f.eval(c)
		if err != nil {
			return err
		}
		if truth(v) {
			return f.exec(n.bodies[i])
		}
	}
	if len(n.bodies) > len(n.conditions) {
		return f.exec(n.bodies[len(n.conditions)])
	}
	return nil
}

// setStatement gives a value to variables or to an attribute of a namespace.
type setStatement struct {
	names     []string
	attribute string // of the one name, or ""
	value     expr
	body      block // in place of a nil value
}

func (p *parser) setStatement() statement {
	n := setStatement{names: p.names()}
	if _, ok := p.accept(sign, "."); ok && len(n.names) == 1 {
		n.attribute = p.expect(name)
	}
	if _, ok := p.accept(sign, "="); ok {
		n.value = p.expressions()
	} else {
		n.body, _ = p.inner("endset")
	}
	return n
}

// names are those of variables, with commas between them.
func (p *parser) names() []string {
	list := []string{p.expect(name)}
	for {
		if _, ok := p.accept(sign, ","); !ok {
			return list
		}
		list = append(list, p.expect(name))
	}
}

func (n setStatement) run(f *frame) error {
	var v any
	var err error
	if n.value == nil {
		v, err = f.capture(n.body, &scope{up: f.vars})
	} else {
		v, err = f.eval(n.value)
	}
	if err != nil {
		return err
	}
	if n.attribute == "" {
		return f.assign(n.names, v)
	}
	of, _ := f.vars.get(n.names[0])
	ns, ok := of.(*namespace)
	if !ok {
		return fmt.Errorf("set %s.%s: %s is %s, only attributes of a namespace can be set", n.names[0], n.attribute, n.names[0], typeOf(of))
	}
	ns.vars[n.attribute] = v
	return f.charge(costScope)
}

// assign gives a value to a variable, or the items of one to several.
func (f *frame) assign(names []string, v any) error {
	if err := f.repeated(len(names), costScope); err != nil {
		return err
	}
	if len(names) == 1 {
		f.vars.set(names[0], v)
		return nil
	}
	parts, ok := v.([]any)
	if !ok || len(parts) != len(names) {
		return fmt.Errorf("cannot unpack %s into %d variables", typeOf(v), len(names))
	}
	for i, name := range names {
		f.vars.set(name, parts[i])
	}
	return nil
}

// capture runs a block and returns what it writes.
func (f *frame) capture(b block, vars *scope) (string, error) {
	sub := &frame{f.run, vars, new(strings.Builder)}
	err := sub.exec(b)
	return sub.out.String(), err
}

type macroStatement struct {
	name     string
	params   []string
	defaults []expr // nil where there is none
	body     block
}

func (p *parser) macroStatement() statement {
	n := macroStatement{name: p.expect(name)}
	p.expect(sign, "(")
	for {
		if _, ok := p.accept(sign, ")"); ok || p.err != nil {
			break
		}
		var value expr
		param := p.expect(name)
		if _, ok := p.accept(sign, "="); ok {
			value = p.expression()
		}
		n.params, n.defaults = append(n.params, param), append(n.defaults, value)
		if t := p.peek(); t.kind != sign || t.text != ")" {
			p.expect(sign, ",")
		}
	}
	loops := p.loops
	p.loops = 0
	n.body, _ = p.inner("endmacro")
	p.loops = loops
	return n
}

func (n macroStatement) run(f *frame) error {
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
type scopeStatement block

func (n scopeStatement) run(f *frame) error { return f.inner().exec(block(n)) }

var (
	errBreak    = errors.New("break")
	errContinue = errors.New("continue")
)

// jump leaves the body of a loop.
type jump struct{ err error }

func (n jump) run(*frame) error { return n.err }
