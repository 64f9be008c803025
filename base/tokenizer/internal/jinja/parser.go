package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// maxNesting bounds the statements and expressions within each other that the parser takes, which calls itself at each.
const maxNesting = 200

// parser makes the statements of a template. After its first error it sees only the end of the template, so that
// everything that parses comes to its end.
type parser struct {
	tokens         []token
	at             int
	nesting, loops int
	err            error
}

func parse(source string) (block, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("template of %d bytes, at most %d: %w", len(source), maxSource, ErrLimit)
	}
	list, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: list}
	body, _ := p.body()
	return body, p.err
}

func (p *parser) peek() token {
	if p.err == nil && p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	line := 1
	if len(p.tokens) > 0 {
		line = p.tokens[len(p.tokens)-1].line
	}
	return token{end, "the end of the template", line}
}

func (p *parser) next() token {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) fail(format string, a ...any) {
	if p.err == nil {
		p.err = &positioned{p.peek().line, fmt.Errorf(format, a...)}
	}
}

// accept takes the next token if it is of the kind and one of the texts, or any if there are none.
func (p *parser) accept(k kind, texts ...string) (string, bool) {
	t := p.peek()
	if t.kind != k || len(texts) > 0 && !slices.Contains(texts, t.text) {
		return "", false
	}
	p.at++
	return t.text, true
}

// expect is accept of what must be there.
func (p *parser) expect(k kind, texts ...string) string {
	text, ok := p.accept(k, texts...)
	if !ok {
		what := strings.Join(texts, " or ")
		if what == "" {
			what = "a name"
		}
		p.fail("expected %s, got %.40q", what, p.peek().text)
	}
	return text
}

// enter is called before going one level deeper, leave after it.
func (p *parser) enter() {
	if p.nesting++; p.nesting > maxNesting {
		p.fail("more than %d expressions or statements within each other: %w", maxNesting, ErrLimit)
	}
}

func (p *parser) leave() { p.nesting-- }

// body parses up to a block with one of the names, which it returns, or to the end of the template if there are none.
func (p *parser) body(ends ...string) (block, string) {
	p.enter()
	defer p.leave()
	var b block
	for {
		t := p.next()
		switch {
		case t.kind == plain:
			b = append(b, line{t.line, plainText(t.text)})
		case t.kind == open && t.text == "{{":
			b = append(b, line{t.line, output{p.expressions()}})
			p.expect(closing, "}}")
		case t.kind == open:
			word := p.expect(name)
			if slices.Contains(ends, word) {
				return b, word
			}
			b = append(b, line{t.line, p.statement(word)})
			p.expect(closing, "%}")
		default:
			if len(ends) > 0 {
				p.fail("expected %s, got the end of the template", strings.Join(ends, " or "))
			}
			return b, ""
		}
	}
}

// inner is the body of a statement whose name and arguments end here.
func (p *parser) inner(ends ...string) (block, string) {
	p.expect(closing, "%}")
	return p.body(ends...)
}

// expressions are one, or a list of several with commas between them.
func (p *parser) expressions() expr {
	first := p.expression()
	if t := p.peek(); t.kind != sign || t.text != "," {
		return first
	}
	list := listOf{first}
	for {
		if _, ok := p.accept(sign, ","); !ok {
			return list
		}
		if t := p.peek(); t.kind == closing || t.kind == sign && strings.ContainsAny(t.text, ")]}") {
			return list
		}
		list = append(list, p.expression())
	}
}

// expression is "value if condition else alternative", or its value alone.
func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	e := p.or()
	for {
		if _, ok := p.accept(name, "if"); !ok {
			return e
		}
		c := choice{then: e, condition: p.or()}
		if _, ok := p.accept(name, "else"); ok {
			c.alternative = p.expression()
		}
		e = c
	}
}

func (p *parser) or() expr {
	e := p.and()
	for {
		if _, ok := p.accept(name, "or"); !ok {
			return e
		}
		e = logic{"or", e, p.and()}
	}
}

func (p *parser) and() expr {
	e := p.not()
	for {
		if _, ok := p.accept(name, "and"); !ok {
			return e
		}
		e = logic{"and", e, p.not()}
	}
}

func (p *parser) not() expr {
	if _, ok := p.accept(name, "not"); !ok {
		return p.comparison()
	}
	p.enter()
	defer p.leave()
	return negation{p.not()}
}

func (p *parser) comparison() expr {
	c := comparison{first: p.operation(0)}
	for {
		op, ok := p.accept(sign, "==", "!=", "<", "<=", ">", ">=")
		if !ok {
			op, ok = p.accept(name, "in")
		}
		if !ok && p.at+1 < len(p.tokens) && p.peek().text == "not" && p.tokens[p.at+1].text == "in" {
			op, ok = "not in", true
			p.at += 2
		}
		if !ok && len(c.ops) == 0 {
			return c.first
		}
		if !ok {
			return c
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, p.operation(0))
	}
}

// levels are the operators by how close they bind; those of a level go from left to right.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}}

func (p *parser) operation(level int) expr {
	if level == len(levels) {
		return p.unary(true)
	}
	e := p.operation(level + 1)
	for {
		op, ok := p.accept(sign, levels[level]...)
		if !ok {
			return e
		}
		e = operation{op, e, p.operation(level + 1)}
	}
}

// unary is a primary expression with what follows it; filters and tests are of what stands with its sign before them.
func (p *parser) unary(filters bool) expr {
	var e expr
	if op, ok := p.accept(sign, "-", "+"); ok {
		p.enter()
		e = operation{op, literal{0}, p.unary(false)}
		p.leave()
	} else {
		e = p.postfix(p.primary())
	}
	for filters {
		if _, ok := p.accept(sign, "|"); ok {
			word := p.expect(name)
			f := filtered{of: e, name: word}
			if _, ok := p.accept(sign, "("); ok {
				f.args = p.args()
			}
			e = f
		} else if _, ok := p.accept(name, "is"); ok {
			e = p.test(e)
		} else {
			return e
		}
	}
	return e
}

func (p *parser) test(of expr) expr {
	_, not := p.accept(name, "not")
	t := tested{of: of, name: p.expect(name)}
	switch next := p.peek(); {
	case next.kind == sign && next.text == "(":
		p.at++
		t.args = p.args().pos
	case next.kind == name && !slices.Contains([]string{"else", "or", "and", "if", "is", "in", "not"}, next.text),
		next.kind == quoted, next.kind == integer, next.kind == float, next.kind == sign && (next.text == "[" || next.text == "{"):
		t.args = []expr{p.postfix(p.primary())}
	}
	if not {
		return negation{t}
	}
	return t
}
