package jinja

import (
	"errors"
	"fmt"
)

// test is "v is name(a)".
func (f *frame) test(name string, v any, a []any) (bool, error) {
	if t, ok := typeTests[name]; ok {
		if len(a) > 0 {
			return false, fmt.Errorf("test %s takes no argument", name)
		}
		return t(v), nil
	}
	t, ok := relations[name]
	if !ok {
		return false, fmt.Errorf("test %s: %w", name, ErrUnsupported)
	}
	if len(a) != 1 {
		return false, fmt.Errorf("test %s needs one argument", name)
	}
	yes, err := t(f, v, a[0])
	if err != nil {
		return false, fmt.Errorf("test %s: %w", name, err)
	}
	return yes, nil
}

var typeTests = map[string]func(v any) bool{
	"defined":   func(v any) bool { return !isUndefined(v) },
	"undefined": isUndefined,
	"none":      func(v any) bool { return v == nil },
	"string":    is[string],
	"boolean":   is[bool],
	"integer":   is[int],
	"float":     is[float64],
	"number":    func(v any) bool { _, ok := asFloat(v); return ok },
	"mapping":   is[*Dict],
	"sequence":  func(v any) bool { return is[string](v) || is[[]any](v) || is[*Dict](v) || isUndefined(v) },
	"iterable":  func(v any) bool { return is[string](v) || is[[]any](v) || is[*Dict](v) || isUndefined(v) },
	"callable":  is[*function],
	"true":      func(v any) bool { b, ok := v.(bool); return ok && b },
	"false":     func(v any) bool { b, ok := v.(bool); return ok && !b },
	"odd":       func(v any) bool { i, ok := asInt(v); return ok && i%2 != 0 },
	"even":      func(v any) bool { i, ok := asInt(v); return ok && i%2 == 0 },
}

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

var relations = map[string]func(f *frame, v, arg any) (bool, error){
	"eq": same, "==": same, "equalto": same,
	"ne": different, "!=": different,
	"lt": order("<"), "<": order("<"), "lessthan": order("<"),
	"le": order("<="), "<=": order("<="),
	"gt": order(">"), ">": order(">"), "greaterthan": order(">"),
	"ge": order(">="), ">=": order(">="),
	"in": func(f *frame, v, arg any) (bool, error) { return f.contains(arg, v) },
	"sameas": func(f *frame, v, arg any) (bool, error) {
		if typeOf(v) != typeOf(arg) || is[[]any](v) {
			return false, nil
		}
		return f.equal(v, arg)
	},
	"divisibleby": func(_ *frame, v, arg any) (bool, error) {
		i, okI := asInt(v)
		j, okJ := asInt(arg)
		if !okI || !okJ || j == 0 {
			return false, errors.New("needs whole numbers, and none of 0")
		}
		return i%j == 0, nil
	},
}

func same(f *frame, v, arg any) (bool, error) { return f.equal(v, arg) }

func different(f *frame, v, arg any) (bool, error) {
	yes, err := f.equal(v, arg)
	return !yes, err
}

func order(op string) func(f *frame, v, arg any) (bool, error) {
	return func(f *frame, v, arg any) (bool, error) {
		return f.ordered(op, v, arg)
	}
}
