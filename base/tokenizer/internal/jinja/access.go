package jinja

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// attribute is v.name: a method, or else an item.
func (f *frame) attribute(v any, name string) (any, error) {
	if fn := f.method(v, name); fn != nil {
		return fn, f.charge(costScope)
	}
	return f.item(v, name)
}

// item is v[k], undefined if there is none.
func (f *frame) item(v, k any) (any, error) {
	switch v := v.(type) {
	case undefined:
		return nil, fmt.Errorf("%s has no items", typeOf(v))
	case []any:
		if i, ok := asInt(k); ok {
			if i < 0 {
				i += len(v)
			}
			if i >= 0 && i < len(v) {
				return v[i], nil
			}
		}
	case string:
		if i, ok := asInt(k); ok {
			return f.character(v, i)
		}
	case *Dict:
		if found, ok := key(k); ok {
			if item, ok := v.items[found]; ok {
				return item, nil
			}
		}
	case *namespace:
		if name, ok := k.(string); ok {
			if item, ok := v.vars[name]; ok {
				return item, nil
			}
		}
	case *loop:
		if name, ok := k.(string); ok {
			return v.attribute(name), f.charge(costScope)
		}
	}
	if name, ok := k.(string); ok {
		if fn := f.method(v, name); fn != nil {
			return fn, f.charge(costScope)
		}
		return undefined{name}, nil
	}
	return undefined{"item"}, nil
}

func (r *run) character(s string, i int) (any, error) {
	if err := r.scan(len(s)); err != nil {
		return nil, err
	}
	if i < 0 {
		i += utf8.RuneCountInString(s)
	}
	at := offset(s, i)
	if i < 0 || at == len(s) {
		return undefined{"item"}, nil
	}
	_, size := utf8.DecodeRuneInString(s[at:])
	return s[at : at+size], nil
}

// offset is where the n-th character begins, the length if there are no more than n.
func offset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// slice is v[start:end:step], where bounds may be nil.
func (r *run) slice(v any, start, end, step *int) (any, error) {
	by := 1
	if step != nil {
		by = *step
	}
	if by == 0 {
		return nil, errors.New("a slice with step 0")
	}
	if s, ok := v.(string); ok && by == 1 {
		if err := r.scan(4 * len(s)); err != nil {
			return nil, err
		}
		from, to := sliceBounds(utf8.RuneCountInString(s), start, end, by)
		from, to = offset(s, from), offset(s, to)
		return s[from:max(from, to)], nil
	}
	list, isList := v.([]any)
	s, isString := v.(string)
	if !isList && !isString {
		return nil, fmt.Errorf("%s has no slices", typeOf(v))
	}
	if isString {
		var err error
		if list, err = r.list(s); err != nil {
			return nil, err
		}
	}
	from, to := sliceBounds(len(list), start, end, by)
	if by == 1 {
		return list[from:max(from, to):max(from, to)], nil
	}
	if err := r.repeated(len(list), costStep); err != nil {
		return nil, err
	}
	var picked []any
	for i := from; by > 0 && i < to || by < 0 && i > to; i += by {
		picked = append(picked, list[i])
		if by > len(list) || by < -len(list) { // the next would be outside, or overflow
			break
		}
	}
	if isString {
		return r.join(picked, "")
	}
	if picked == nil {
		picked = []any{}
	}
	return picked, nil
}

// sliceBounds are Python's: negative ones count from the end, and all are brought within the list.
func sliceBounds(n int, start, end *int, step int) (from, to int) {
	low, high := 0, n
	from, to = 0, n
	if step < 0 {
		low, high = -1, n-1
		from, to = n-1, -1
	}
	within := func(i int) int {
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	if start != nil {
		from = within(*start)
	}
	if end != nil {
		to = within(*end)
	}
	return from, to
}
