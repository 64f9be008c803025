package tokenizer

import (
	"errors"
	"fmt"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	controls "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// Chat templates come with models, so they are programs of strangers: they get no way to other templates or files, and
// what they may use is bounded.
const (
	maxTemplate = 64 << 10         // bytes of a template
	maxBrackets = 8 << 10          // brackets that it opens: the parser calls itself at each, and its stack must not overflow
	maxChat     = 16 << 20         // bytes that it may write
	maxRange    = 1 << 16          // numbers of one range
	maxDepth    = 64               // calls of macros within each other
	maxTime     = 10 * time.Second // for one chat
)

// statements are what a template may use, with all that loads other templates left out.
var statements = func() *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{"generation": parseGeneration}
	for _, name := range []string{"for", "if", "set", "macro", "call", "filter", "with", "do", "raw", "break", "continue"} {
		if p, ok := controls.All.Get(name); ok {
			set[name] = guard(p)
		}
	}
	return exec.NewControlStructureSet(set)
}()

// budget is what is left to one run of a template.
type budget struct {
	end   time.Time
	depth int
}

// budgetName is no identifier, so that templates cannot reach it.
const budgetName = " budget"

func (b *budget) check() error {
	if time.Now().After(b.end) {
		return fmt.Errorf("still running after %v: %w", maxTime, ErrInvalid)
	}
	return nil
}

// environment is what one run of a template sees.
func environment(b *budget) *exec.Environment {
	return &exec.Environment{
		Context: exec.NewContext(map[string]any{
			budgetName: b, "range": rangeOf, "namespace": global("namespace"), "dict": global("dict"),
			"raise_exception": func(msg string) (string, error) { return "", errors.New(msg) },
			"strftime_now":    func(format string) string { return strftime(time.Now(), format) },
		}),
		Filters: builtins.Filters, Tests: builtins.Tests, ControlStructures: statements, Methods: builtins.Methods,
	}
}

func global(name string) any {
	f, _ := builtins.GlobalFunctions.Get(name)
	return f
}

// rangeOf is Python's range, as a list and bounded.
func rangeOf(_ *exec.Evaluator, params *exec.VarArgs) ([]int, error) {
	v := []int{0, 0, 1}
	switch len(params.Args) {
	case 1:
		v[1] = params.Args[0].Integer()
	case 2, 3:
		for i, a := range params.Args {
			v[i] = a.Integer()
		}
	default:
		return nil, fmt.Errorf("range with %d arguments: %w", len(params.Args), ErrInvalid)
	}
	if v[2] == 0 {
		return nil, fmt.Errorf("range with step 0: %w", ErrInvalid)
	}
	var list []int
	for i := v[0]; v[2] > 0 && i < v[1] || v[2] < 0 && i > v[1]; i += v[2] {
		if len(list) == maxRange {
			return nil, fmt.Errorf("range of more than %d numbers: %w", maxRange, ErrInvalid)
		}
		list = append(list, i)
	}
	return list, nil
}

// guarded is a statement that runs only while there is time.
type guarded struct{ exec.ControlStructure }

func guard(parse parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		n, err := parse(p, args)
		if err != nil {
			return nil, err
		}
		if f, ok := n.(*controls.ForControlStructure); ok && f.Recursive {
			return nil, fmt.Errorf("recursive loop: %w", ErrUnsupported)
		}
		if c, ok := n.(exec.ControlStructure); ok {
			return guarded{c}, nil
		}
		return n, nil
	}
}

// Execute runs the statement. A macro is given its bound of depth here, since a stack that overflows ends the process.
func (g guarded) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	v, _ := r.Environment.Context.Get(budgetName)
	b, ok := v.(*budget)
	if !ok {
		return fmt.Errorf("statement without a budget: %w", ErrInvalid)
	}
	if err := b.check(); err != nil {
		return err
	}
	if err := g.ControlStructure.Execute(r, tag); err != nil {
		return err
	}
	if m, ok := g.ControlStructure.(*controls.MacroControlStructure); ok {
		v, _ := r.Environment.Context.Get(m.Name)
		if call, ok := v.(exec.Macro); ok {
			r.Environment.Context.Set(m.Name, b.bound(m.Name, call))
		}
	}
	return nil
}

func (b *budget) bound(name string, call exec.Macro) exec.Macro {
	return func(params *exec.VarArgs) *exec.Value {
		if b.depth == maxDepth {
			return exec.AsValue(fmt.Errorf("macro %q calls itself more than %d deep: %w", name, maxDepth, ErrInvalid))
		}
		if err := b.check(); err != nil {
			return exec.AsValue(err)
		}
		b.depth++
		defer func() { b.depth-- }()
		return call(params)
	}
}

// generation marks what the assistant wrote, for training; it changes no text.
type generation struct {
	at   *tokens.Token
	body *nodes.Wrapper
}

func parseGeneration(p, _ *parser.Parser) (nodes.ControlStructure, error) {
	g := &generation{at: p.Current()}
	body, _, err := p.WrapUntil("endgeneration")
	g.body = body
	return g, err
}

func (g *generation) Position() *tokens.Token { return g.at }

func (g *generation) String() string { return "generation" }

// Execute writes the body.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(g.body)
}
