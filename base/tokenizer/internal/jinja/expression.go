package jinja

import (
	"errors"
	"fmt"
)

// expr is an expression; use (*frame).eval, which charges for it.
type expr interface {
	value(f *frame) (any, error)
}

// eval is the value of an expression.
func (f *frame) eval(e expr) (any, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.leave()
	return e.value(f)
}

// evalBoth evaluates two expressions.
func (f *frame) evalBoth(a, b expr) (x, y any, err error) {
	if x, err = f.eval(a); err != nil {
		return nil, nil, err
	}
	y, err = f.eval(b)
	return x, y, err
}

type literal struct{ v any }

func (e literal) value(*frame) (any, error) { return e.v, nil }

type variable string

func (e variable) value(f *frame) (any, error) {
	if v, ok := f.vars.get(string(e)); ok {
		return v, nil
	}
	return undefined{string(e)}, nil
}

type listOf []expr

func (e listOf) value(f *frame) (any, error) { return f.evalAll(e) }

func (f *frame) evalAll(list []expr) ([]any, error) {
	if err := f.repeated(len(list), costStep); err != nil {
		return nil, err
	}
	values := make([]any, len(list))
	for i, e := range list {
		v, err := f.eval(e)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

type dictOf struct{ keys, values []expr }

func (e dictOf) value(f *frame) (any, error) {
	if err := f.repeated(1+len(e.keys), 2*costStep); err != nil {
		return nil, err
	}
	d := &Dict{}
	for i := range e.keys {
		k, v, err := f.evalBoth(e.keys[i], e.values[i])
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

type itemOf struct{ of, key expr }

func (e itemOf) value(f *frame) (any, error) {
	v, k, err := f.evalBoth(e.of, e.key)
	if err != nil {
		return nil, err
	}
	return f.item(v, k)
}

type attributeOf struct {
	of   expr
	name string
}

func (e attributeOf) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	if err != nil {
		return nil, err
	}
	return f.attribute(v, e.name)
}

type sliceOf struct {
	of     expr
	bounds [3]expr // nil where there is none
}

func (e sliceOf) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int
	for i, b := range e.bounds {
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

type negation struct{ of expr }

func (e negation) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	return !truth(v), err
}

// logic is and, or or.
type logic struct {
	op          string
	left, right expr
}

func (e logic) value(f *frame) (any, error) {
	v, err := f.eval(e.left)
	if err != nil || truth(v) == (e.op == "or") {
		return v, err
	}
	return f.eval(e.right)
}

type operation struct {
	op          string
	left, right expr
}

func (e operation) value(f *frame) (any, error) {
	l, r, err := f.evalBoth(e.left, e.right)
	if err != nil {
		return nil, err
	}
	return f.operate(e.op, l, r)
}

// comparison is a chain of them, as a < b <= c.
type comparison struct {
	first expr
	ops   []string
	rest  []expr
}

func (e comparison) value(f *frame) (any, error) {
	left, err := f.eval(e.first)
	if err != nil {
		return nil, err
	}
	for i, op := range e.ops {
		right, err := f.eval(e.rest[i])
		if err != nil {
			return nil, err
		}
		if yes, err := f.relation(op, left, right); !yes || err != nil {
			return false, err
		}
		left = right
	}
	return true, nil
}

// choice is "value if condition else alternative"; the alternative may be nil.
type choice struct{ then, condition, alternative expr }

func (e choice) value(f *frame) (any, error) {
	c, err := f.eval(e.condition)
	switch {
	case err != nil:
		return nil, err
	case truth(c):
		return f.eval(e.then)
	case e.alternative == nil:
		return undefined{}, nil
	}
	return f.eval(e.alternative)
}

type filtered struct {
	of   expr
	name string
	args arguments
}

func (e filtered) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	if err != nil {
		return nil, err
	}
	a, err := f.evalArgs(e.args)
	if err != nil {
		return nil, err
	}
	return f.filter(e.name, v, a)
}

type tested struct {
	of   expr
	name string
	args []expr
}

func (e tested) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	if err != nil {
		return nil, err
	}
	a, err := f.evalAll(e.args)
	if err != nil {
		return nil, err
	}
	return f.test(e.name, v, a)
}

type call struct {
	of   expr
	args arguments
}

func (e call) value(f *frame) (any, error) {
	v, err := f.eval(e.of)
	if err != nil {
		return nil, err
	}
	fn, ok := v.(*function)
	if !ok {
		return nil, fmt.Errorf("%s cannot be called", typeOf(v))
	}
	a, err := f.evalArgs(e.args)
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
