package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxSource bounds the bytes of a template.
const maxSource = 64 << 10

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

// positioned is an error and the line of the template that it comes from.
type positioned struct {
	line int
	err  error
}

func (e *positioned) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *positioned) Unwrap() error { return e.err }

// at adds the line to an error that has none.
func at(line int, err error) error {
	var p *positioned
	if errors.Is(err, errBreak) || errors.Is(err, errContinue) || errors.As(err, &p) {
		return err
	}
	return &positioned{line, err}
}
