package jinja

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
)

// relation is "left op right" for an operator that compares.
func (r *run) relation(op string, left, right any) (bool, error) {
	switch op {
	case "==":
		return r.equal(left, right)
	case "!=":
		same, err := r.equal(left, right)
		return !same, err
	case "in":
		return r.contains(right, left)
	case "not in":
		found, err := r.contains(right, left)
		return !found, err
	}
	return r.ordered(op, left, right)
}

// operate is "left op right" for an operator that makes a value.
func (r *run) operate(op string, left, right any) (any, error) {
	switch op {
	case "~":
		return r.concat(left, right)
	case "+":
		switch left := left.(type) {
		case string:
			if right, ok := right.(string); ok {
				return r.concat(left, right)
			}
		case []any:
			if right, ok := right.([]any); ok {
				return r.append(left, right)
			}
		}
	case "*":
		if n, ok := asInt(left); ok {
			left, right = right, left
			if v, ok := asInt(left); ok {
				return r.arithmetic(op, v, n)
			}
			if x, ok := left.(float64); ok {
				return r.arithmetic(op, n, x)
			}
		}
		if n, ok := asInt(right); ok {
			switch left := left.(type) {
			case string:
				if err := r.repeated(n, len(left)); err != nil {
					return nil, err
				}
				return strings.Repeat(left, max(n, 0)), nil
			case []any:
				return nil, fmt.Errorf("repeated list: %w", ErrUnsupported)
			}
		}
	}
	return r.arithmetic(op, left, right)
}

func (r *run) concat(left, right any) (any, error) {
	a, err := r.text(left)
	if err != nil {
		return nil, err
	}
	b, err := r.text(right)
	if err != nil {
		return nil, err
	}
	if err := r.charge(len(a) + len(b)); err != nil {
		return nil, err
	}
	return a + b, nil
}

func (r *run) append(a, b []any) (any, error) {
	if err := r.repeated(len(a)+len(b), costStep); err != nil {
		return nil, err
	}
	return append(append(make([]any, 0, len(a)+len(b)), a...), b...), nil
}

// arithmetic is on numbers; whole ones stay whole where Python's do.
func (r *run) arithmetic(op string, left, right any) (any, error) {
	x, okX := asFloat(left)
	y, okY := asFloat(right)
	if !okX || !okY {
		return nil, fmt.Errorf("%s and %s have no %s", typeOf(left), typeOf(right), op)
	}
	if y == 0 && (op == "/" || op == "//" || op == "%") {
		return nil, errors.New("division by zero")
	}
	i, okI := asInt(left)
	j, okJ := asInt(right)
	whole := okI && okJ && op != "/" && (op != "**" || j >= 0)
	var v float64
	var w int
	switch op {
	case "+":
		v, w = x+y, i+j
	case "-":
		v, w = x-y, i-j
	case "*":
		v, w = x*y, i*j
	case "/":
		v = x / y
	case "//":
		v = math.Floor(x / y)
		if whole {
			w = floorDiv(i, j)
		}
	case "%":
		v = x - y*math.Floor(x/y)
		if whole {
			w = i - j*floorDiv(i, j)
		}
	case "**":
		v = math.Pow(x, y)
		w = int(v)
		if whole && math.Abs(v) > 1<<53 {
			return nil, errors.New("number too large")
		}
	}
	if !whole {
		return v, nil
	}
	if math.Abs(v) >= 1<<62 {
		return nil, errors.New("number too large")
	}
	return w, nil
}

func floorDiv(i, j int) int {
	q := i / j
	if i%j != 0 && (i < 0) != (j < 0) {
		q--
	}
	return q
}

// equal compares by value, but functions, loops and namespaces by what they are.
func (r *run) equal(a, b any) (bool, error) {
	if err := r.enter(); err != nil {
		return false, err
	}
	defer r.leave()
	if x, ok := asFloat(a); ok {
		y, ok := asFloat(b)
		i, okI := asInt(a)
		j, okJ := asInt(b)
		if okI && okJ {
			return i == j, nil
		}
		return ok && x == y, nil
	}
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		return a == b, r.scan(len(a))
	case undefined:
		return isUndefined(b), nil
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false, nil
		}
		for i := range a {
			if same, err := r.equal(a[i], b[i]); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	case *Dict:
		b, ok := b.(*Dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false, nil
		}
		for _, k := range a.keys {
			v, ok := b.items[k]
			if !ok {
				return false, nil
			}
			if same, err := r.equal(a.items[k], v); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	}
	return a == b, nil // pointers or None
}

// compare orders numbers and strings.
func (r *run) compare(a, b any) (int, error) {
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			return strings.Compare(s, t), r.charge(costStep + min(len(s), len(t))/8)
		}
	}
	if i, ok := a.(int); ok {
		if j, ok := b.(int); ok {
			return cmp.Compare(i, j), r.charge(costStep)
		}
	}
	x, okX := asFloat(a)
	y, okY := asFloat(b)
	if !okX || !okY {
		return 0, fmt.Errorf("%s and %s have no order", typeOf(a), typeOf(b))
	}
	return cmp.Compare(x, y), r.charge(costStep)
}

func (r *run) ordered(op string, left, right any) (bool, error) {
	c, err := r.compare(left, right)
	switch op {
	case "<":
		return c < 0, err
	case "<=":
		return c <= 0, err
	case ">":
		return c > 0, err
	}
	return c >= 0, err
}

// contains is "v in container".
func (r *run) contains(container, v any) (bool, error) {
	switch c := container.(type) {
	case string:
		if s, ok := v.(string); ok {
			return strings.Contains(c, s), r.scan(len(c))
		}
		return false, fmt.Errorf("%s in a string", typeOf(v))
	case *Dict:
		k, ok := key(v)
		_, found := c.items[k]
		return ok && found, nil
	case []any:
		for _, item := range c {
			if same, err := r.equal(v, item); same || err != nil {
				return same, err
			}
		}
		return false, nil
	case undefined:
		return false, nil
	}
	return false, fmt.Errorf("%s contains nothing", typeOf(container))
}
