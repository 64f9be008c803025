package jinja

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// eval is the value of an expression.
func (f *frame) eval(n nodes.Node) (any, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.leave()
	switch n := n.(type) {
	case *nodes.None:
		return nil, nil
	case *nodes.String:
		return n.Val, nil
	case *nodes.Integer:
		return n.Val, nil
	case *nodes.Float:
		return n.Val, nil
	case *nodes.Bool:
		return n.Val, nil
	case *nodes.Name:
		return f.name(n.Name.Val), nil
	case *nodes.List:
		return f.evalAll(n.Val)
	case *nodes.Tuple:
		return f.evalAll(n.Val)
	case *nodes.Dict:
		return f.evalDict(n)
	case *nodes.GetItem:
		return f.evalItem(n)
	case *nodes.GetAttribute:
		v, err := f.eval(n.Node)
		if err != nil {
			return nil, err
		}
		if n.Attribute == "" {
			return f.item(v, n.Index)
		}
		return f.attribute(v, n.Attribute)
	case *nodes.GetSlice:
		return f.evalSlice(n)
	case *nodes.Call:
		return f.evalCall(n)
	case *nodes.Negation:
		v, err := f.eval(n.Term)
		return !truth(v), err
	case *nodes.UnaryExpression:
		v, err := f.eval(n.Term)
		if err != nil || !n.Negative {
			return v, err
		}
		return f.arithmetic(tokens.Subtraction, 0, v)
	case *nodes.BinaryExpression:
		return f.evalBinary(n)
	case *nodes.FilteredExpression:
		return f.evalFilters(n)
	case *nodes.TestExpression:
		return f.evalTest(n)
	case nil:
		return nil, errors.New("an expression is missing")
	}
	return nil, fmt.Errorf("%T: %w", n, ErrUnsupported)
}

func (f *frame) name(name string) any {
	if v, ok := f.vars.get(name); ok {
		return v
	}
	if name == "none" { // the parser knows it as None
		return nil
	}
	return undefined{name}
}

func (f *frame) evalAll(list []nodes.Expression) ([]any, error) {
	if err := f.repeated(len(list), costStep); err != nil {
		return nil, err
	}
	values := make([]any, len(list))
	for i, n := range list {
		v, err := f.eval(n)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

func (f *frame) evalDict(n *nodes.Dict) (any, error) {
	if err := f.repeated(1+len(n.Pairs), 2*costStep); err != nil {
		return nil, err
	}
	d := &Dict{}
	for _, p := range n.Pairs {
		k, err := f.eval(p.Key)
		if err != nil {
			return nil, err
		}
		v, err := f.eval(p.Value)
		if err != nil {
			return nil, err
		}
		found, ok := key(k)
		if !ok {
			return nil, fmt.Errorf("%s cannot be the key of a dict", typeOf(k))
		}
		d.set(found, v)
	}
	return d, nil
}

func (f *frame) evalItem(n *nodes.GetItem) (any, error) {
	v, err := f.eval(n.Node)
	if err != nil {
		return nil, err
	}
	k, err := f.eval(n.Arg)
	if err != nil {
		return nil, err
	}
	return f.item(v, k)
}

func (f *frame) evalSlice(n *nodes.GetSlice) (any, error) {
	v, err := f.eval(n.Node)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int
	for i, b := range []nodes.Node{n.Start, n.End, n.Step} {
		if b == nil {
			continue
		}
		v, err := f.eval(b)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		x, ok := asInt(v)
		if !ok {
			return nil, fmt.Errorf("a bound of a slice is %s, want a number", typeOf(v))
		}
		bounds[i] = &x
	}
	return f.slice(v, bounds[0], bounds[1], bounds[2])
}

func (f *frame) evalBinary(n *nodes.BinaryExpression) (any, error) {
	l, err := f.eval(n.Left)
	if err != nil {
		return nil, err
	}
	switch op := n.Operator.Token.Type; {
	case op == tokens.And && !truth(l), op == tokens.Or && truth(l):
		return l, nil
	}
	r, err := f.eval(n.Right)
	if err != nil {
		return nil, err
	}
	return f.operate(n.Operator.Token.Type, l, r)
}

func (f *frame) evalFilters(n *nodes.FilteredExpression) (any, error) {
	v, err := f.eval(n.Expression)
	if err != nil {
		return nil, err
	}
	for _, call := range n.Filters {
		a, err := f.evalArgs(call.Args, call.Kwargs)
		if err != nil {
			return nil, err
		}
		if v, err = f.filter(call.Name, v, a); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (f *frame) evalTest(n *nodes.TestExpression) (any, error) {
	v, err := f.eval(n.Expression)
	if err != nil {
		return nil, err
	}
	a, err := f.evalAll(n.Test.Args)
	if err != nil {
		return nil, err
	}
	return f.test(n.Test.Name, v, a)
}

func (f *frame) evalCall(n *nodes.Call) (any, error) {
	v, err := f.eval(n.Func)
	if err != nil {
		return nil, err
	}
	fn, ok := v.(*function)
	if !ok {
		return nil, fmt.Errorf("%s cannot be called", typeOf(v))
	}
	a, err := f.evalArgs(n.Args, n.Kwargs)
	if err != nil {
		return nil, err
	}
	if v, err = fn.call(f, a); err != nil {
		var p *positioned
		if errors.As(err, &p) { // it happened within the macro
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", fn.name, err)
	}
	return v, nil
}

// args are what a function, a filter or a macro is called with.
type args struct {
	pos []any
	kw  map[string]any
}

func (f *frame) evalArgs(pos []nodes.Expression, kw map[string]nodes.Expression) (*args, error) {
	if err := f.repeated(1+len(pos)+2*len(kw), costStep); err != nil {
		return nil, err
	}
	values, err := f.evalAll(pos)
	if err != nil {
		return nil, err
	}
	a := &args{pos: values}
	for _, name := range slices.Sorted(maps.Keys(kw)) {
		v, err := f.eval(kw[name])
		if err != nil {
			return nil, err
		}
		if a.kw == nil {
			a.kw = map[string]any{}
		}
		a.kw[name] = v
	}
	return a, nil
}

// bind returns the arguments in the order of the names, undefined where one is not given.
func (a *args) bind(names ...string) ([]any, error) {
	if len(a.pos) > len(names) {
		return nil, fmt.Errorf("%d arguments, at most %d", len(a.pos), len(names))
	}
	given := make([]any, len(names))
	copy(given, a.pos)
	found := 0
	for i, name := range names {
		v, ok := a.kw[name]
		if ok {
			found++
		}
		if ok && i < len(a.pos) {
			return nil, fmt.Errorf("argument %s is given twice", name)
		}
		if ok {
			given[i] = v
		} else if i >= len(a.pos) {
			given[i] = undefined{name}
		}
	}
	if found < len(a.kw) {
		return nil, fmt.Errorf("unknown arguments among %q", slices.Sorted(maps.Keys(a.kw)))
	}
	return given, nil
}

// wantString is an argument that must be a string.
func wantString(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("argument is %s, want a string", typeOf(v))
	}
	return s, nil
}

// wantInt is an argument that must be a whole number, or the fallback if it is not given.
func wantInt(v any, fallback int) (int, error) {
	if isUndefined(v) {
		return fallback, nil
	}
	i, ok := asInt(v)
	if !ok {
		return 0, fmt.Errorf("argument is %s, want a whole number", typeOf(v))
	}
	return i, nil
}
