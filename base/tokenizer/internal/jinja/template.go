package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// The parser calls itself at brackets and statements, and its stack must not overflow either.
const (
	maxSource   = 64 << 10 // bytes of a template
	maxBrackets = 8 << 10  // brackets that it opens
	maxNesting  = 100      // statements within each other
)

// Render runs a template with variables (nil, bool, int, float64, string, []any of those, *Dict) and returns what it
// writes. Blocks are trimmed as Hugging Face sets it. Errors that wrap ErrLimit or ErrUnsupported say so; the others are
// errors in the template, or those that it raises itself.
func Render(source string, vars map[string]any, limits Limits) (string, error) {
	body, err := parse(source)
	if err != nil {
		return "", err
	}
	r := &run{limits: limits, left: limits.Bytes, end: time.Now().Add(limits.Time)}
	f := &frame{r, &scope{vars: vars, up: &scope{vars: globals}}, new(strings.Builder)}
	if err := f.inner().exec(body); err != nil {
		return "", err
	}
	return f.out.String(), nil
}

func parse(source string) (body []nodes.Node, err error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("template of %d bytes, at most %d: %w", len(source), maxSource, ErrLimit)
	}
	if n := strings.Count(source, "(") + strings.Count(source, "[") + strings.Count(source, "{"); n > maxBrackets {
		return nil, fmt.Errorf("template with %d brackets, at most %d: %w", n, maxBrackets, ErrLimit)
	}
	defer func() { // the parser is not ours, and trips over some errors
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot read the template: %v", p)
		}
	}()
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true
	tpl, err := parser.NewParser("chat", tokens.LexAll(source, cfg), cfg, nil, &syntax{}).Parse()
	if err != nil {
		return nil, fmt.Errorf("cannot read the template: %w", err)
	}
	return tpl.Nodes, nil
}

// exec runs nodes one after the other.
func (f *frame) exec(body []nodes.Node) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.leave()
	for _, n := range body {
		if n == nil {
			continue
		}
		if err := f.node(n); err != nil {
			return at(n.Position(), err)
		}
	}
	return nil
}

func (f *frame) node(n nodes.Node) error {
	if err := f.charge(costStep); err != nil {
		return err
	}
	switch n := n.(type) {
	case *nodes.Comment:
		return nil
	case *nodes.Data:
		return f.data(n)
	case *nodes.Output:
		v, err := f.choose(n.Expression, n.Condition, n.Alternative)
		if err != nil {
			return err
		}
		s, err := f.text(v)
		if err != nil {
			return err
		}
		return f.write(s)
	case *nodes.ControlStructureBlock:
		if s, ok := n.ControlStructure.(statement); ok {
			return s.run(f)
		}
	}
	return fmt.Errorf("%T: %w", n, ErrUnsupported)
}

func (f *frame) data(n *nodes.Data) error {
	s := n.Data.Val
	if err := f.scan(len(s)); err != nil {
		return err
	}
	if n.RemoveFirstLineReturn {
		s = strings.TrimPrefix(strings.TrimPrefix(s, "\r\n"), "\n")
	}
	if n.Trim.Left {
		s = strings.TrimLeft(s, " \r\n\t")
	}
	if n.Trim.Right {
		s = strings.TrimRight(s, " \r\n\t")
	}
	return f.write(s)
}

// choose is "value if condition else alternative", where all but the value may be missing.
func (f *frame) choose(value, condition, alternative nodes.Expression) (any, error) {
	if condition != nil {
		c, err := f.eval(condition)
		if err != nil {
			return nil, err
		}
		if !truth(c) {
			if alternative == nil {
				return undefined{}, nil
			}
			value = alternative
		}
	}
	return f.eval(value)
}

// positioned is an error and the line of the template that it comes from.
type positioned struct {
	line int
	err  error
}

func (e *positioned) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *positioned) Unwrap() error { return e.err }

// at adds the line to an error that has none.
func at(t *tokens.Token, err error) error {
	var p *positioned
	if t == nil || errors.Is(err, errBreak) || errors.Is(err, errContinue) || errors.As(err, &p) {
		return err
	}
	return &positioned{t.Line, err}
}
