package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrUnsupported says that a template uses what chat templates get no access to.
	ErrUnsupported = errors.New("not supported in chat templates")
	// ErrLimit says that a template wants more than its limits.
	ErrLimit = errors.New("more than a chat template may use")
)

// Limits bound one run of a template.
type Limits struct {
	Bytes  int           // of all values and texts that it makes, those included that it drops again
	Output int           // bytes of what it writes, and of what a macro or a block writes
	Time   time.Duration // checked whenever 4 KiB more have been charged
}

// What is charged for things without a length, about what they take.
const (
	costStep  = 32  // an expression, a statement, an item of a list or a dict, made or looked at
	costScope = 128 // a turn of a loop, a call, a variable
)

// maxDepth bounds expressions, statements, macros and values within each other, all together: each takes a part of the
// stack, whose overflow would end the process.
const maxDepth = 1000

// run is one execution of a template and what is left to it.
type run struct {
	limits Limits
	left   int
	end    time.Time
	depth  int
}

// charge takes n bytes from the budget; call it before what costs them is made.
func (r *run) charge(n int) error {
	if n < 0 || n > r.left {
		r.left = 0 // whoever catches the error gets no further
		return fmt.Errorf("values and texts of more than %d bytes: %w", r.limits.Bytes, ErrLimit)
	}
	before := r.left
	r.left -= n
	if before>>12 != r.left>>12 && time.Now().After(r.end) { // the clock takes longer than most of what is charged
		r.left = 0
		return fmt.Errorf("still running after %v: %w", r.limits.Time, ErrLimit)
	}
	return nil
}

// scan charges for looking through n bytes, which takes time alone.
func (r *run) scan(n int) error { return r.charge(n / 4) }

// enter is called before going one level deeper, leave after it.
func (r *run) enter() error {
	if r.depth == maxDepth {
		return fmt.Errorf("expressions, calls or values more than %d deep in each other: %w", maxDepth, ErrLimit)
	}
	if err := r.charge(costStep); err != nil {
		return err
	}
	r.depth++
	return nil
}

func (r *run) leave() { r.depth-- }

// repeated charges for n times size bytes.
func (r *run) repeated(n, size int) error {
	if n <= 0 || size <= 0 {
		return nil
	}
	if n > r.left/size {
		return r.charge(-1)
	}
	return r.charge(n * size)
}

// put appends a text to one that is being made.
func (r *run) put(b *strings.Builder, s string) error {
	if err := r.charge(len(s)); err != nil {
		return err
	}
	b.WriteString(s)
	return nil
}

// frame is where a part of a template runs.
type frame struct {
	*run
	vars *scope
	out  *strings.Builder
}

// write appends to the output.
func (f *frame) write(s string) error {
	if f.out.Len()+len(s) > f.limits.Output {
		return fmt.Errorf("output of more than %d bytes: %w", f.limits.Output, ErrLimit)
	}
	return f.put(f.out, s)
}

// inner is a frame with variables of its own.
func (f *frame) inner() *frame { return &frame{f.run, &scope{up: f.vars}, f.out} }

// scope holds variables; those of the scopes around it are seen, but not changed.
type scope struct {
	vars map[string]any
	up   *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

func (s *scope) set(name string, v any) {
	if s.vars == nil {
		s.vars = make(map[string]any, 2)
	}
	s.vars[name] = v
}
