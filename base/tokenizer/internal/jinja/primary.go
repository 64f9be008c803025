package jinja

import (
	"errors"
	"strconv"
	"strings"
)

// postfix adds items, attributes, slices and calls.
func (p *parser) postfix(e expr) expr {
	for {
		s, ok := p.accept(sign, ".", "[", "(")
		switch {
		case !ok:
			return e
		case s == ".":
			if t, ok := p.accept(integer); ok {
				e = itemOf{e, literal{p.whole(t)}}
			} else {
				e = attributeOf{e, p.expect(name)}
			}
		case s == "[":
			e = p.subscript(e)
		default:
			e = call{e, p.args()}
		}
	}
}

func (p *parser) subscript(of expr) expr {
	var bounds [3]expr
	n := 0
	for {
		if t := p.peek(); t.kind != sign || t.text != ":" && t.text != "]" {
			bounds[n] = p.expression()
		}
		if _, ok := p.accept(sign, ":"); !ok || n == 2 {
			break
		}
		n++
	}
	p.expect(sign, "]")
	if n > 0 {
		return sliceOf{of, bounds}
	}
	if bounds[0] == nil {
		p.fail("nothing between brackets")
	}
	return itemOf{of, bounds[0]}
}

// args are those of a call, after its opening bracket.
func (p *parser) args() arguments {
	var a arguments
	for {
		if _, ok := p.accept(sign, ")"); ok || p.err != nil {
			return a
		}
		if t := p.peek(); t.kind == name && p.at+1 < len(p.tokens) && p.tokens[p.at+1].text == "=" && p.tokens[p.at+1].kind == sign {
			p.at += 2
			a.names, a.named = append(a.names, t.text), append(a.named, p.expression())
		} else if len(a.names) > 0 {
			p.fail("an argument without a name after one with")
		} else {
			a.pos = append(a.pos, p.expression())
		}
		if t := p.peek(); t.kind != sign || t.text != ")" {
			p.expect(sign, ",")
		}
	}
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case name:
		switch t.text {
		case "true", "True":
			return literal{true}
		case "false", "False":
			return literal{false}
		case "none", "None":
			return literal{nil}
		case "and", "or", "not", "in", "is", "if", "else":
			p.fail("%s where a value is expected", t.text)
		}
		return variable(t.text)
	case quoted:
		s := t.text
		for {
			more, ok := p.accept(quoted)
			if !ok {
				return literal{s}
			}
			s += more
		}
	case integer:
		return literal{p.whole(t.text)}
	case float:
		x, err := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64)
		if err != nil {
			p.fail("number %s: %w", t.text, errors.Unwrap(err))
		}
		return literal{x}
	case sign:
		switch t.text {
		case "(":
			return p.brackets()
		case "[":
			return listOf(p.list("]"))
		case "{":
			return p.dict()
		}
	}
	p.fail("%.40q where a value is expected", t.text)
	return literal{}
}

func (p *parser) whole(text string) int {
	i, err := strconv.ParseInt(text, 0, 62)
	if strings.HasPrefix(text, "0") && strings.Trim(text, "0_123456789") == "" {
		i, err = strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 62)
	}
	if err != nil {
		p.fail("number %.40s: %w", text, errors.Unwrap(err))
	}
	return int(i)
}

// brackets are an expression in brackets, or a tuple.
func (p *parser) brackets() expr {
	if _, ok := p.accept(sign, ")"); ok {
		return listOf{}
	}
	e := p.expressions()
	p.expect(sign, ")")
	return e
}

func (p *parser) list(close string) []expr {
	var list []expr
	for {
		if _, ok := p.accept(sign, close); ok || p.err != nil {
			return list
		}
		list = append(list, p.expression())
		if t := p.peek(); t.kind != sign || t.text != close {
			p.expect(sign, ",")
		}
	}
}

func (p *parser) dict() expr {
	var d dictOf
	for {
		if _, ok := p.accept(sign, "}"); ok || p.err != nil {
			return d
		}
		d.keys = append(d.keys, p.expression())
		p.expect(sign, ":")
		d.values = append(d.values, p.expression())
		if t := p.peek(); t.kind != sign || t.text != "}" {
			p.expect(sign, ",")
		}
	}
}
