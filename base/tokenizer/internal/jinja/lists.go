package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// path is the item of a value that an attribute names: a number, or names and numbers with dots between them.
func (f *frame) path(v, attribute any) (any, error) {
	name, ok := attribute.(string)
	if !ok {
		return f.item(v, attribute)
	}
	if err := f.scan(len(name)); err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(name, ".") {
		var k any = part
		if i, err := strconv.Atoi(part); err == nil {
			k = i
		}
		var err error
		if v, err = f.item(v, k); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// listed is a value as a list, and the arguments of those names.
func (f *frame) listed(v any, a *args, names ...string) (list []any, given []any, err error) {
	if given, err = a.bind(names...); err != nil {
		return nil, nil, err
	}
	list, err = f.list(v)
	return list, given, err
}

func toList(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	list, err := f.list(v)
	return slices.Clip(list), err
}

func first(f *frame, v any, a *args) (any, error) { return f.end(v, a, 0) }

func last(f *frame, v any, a *args) (any, error) { return f.end(v, a, -1) }

func (f *frame) end(v any, a *args, i int) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		return f.character(s, i)
	}
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	return f.item(list, i)
}

func join(f *frame, v any, a *args) (any, error) {
	list, given, err := f.listed(v, a, "d", "attribute")
	if err != nil {
		return nil, err
	}
	if given[1] != nil && !isUndefined(given[1]) {
		if list, err = f.each(list, func(item any) (any, error) { return f.path(item, given[1]) }); err != nil {
			return nil, err
		}
	}
	d, err := f.text(given[0])
	if err != nil {
		return nil, err
	}
	return f.join(list, d)
}

// join is the texts of a list with d between them.
func (r *run) join(list []any, d string) (any, error) {
	if err := r.repeated(len(list), costStep+len(d)); err != nil {
		return nil, err
	}
	texts := make([]string, len(list))
	for i, item := range list {
		var err error
		if texts[i], err = r.text(item); err != nil {
			return nil, err
		}
		if err := r.charge(len(texts[i])); err != nil {
			return nil, err
		}
	}
	return strings.Join(texts, d), nil
}

// each is a list of what is made of the items.
func (f *frame) each(list []any, of func(item any) (any, error)) ([]any, error) {
	if err := f.repeated(len(list), costStep); err != nil {
		return nil, err
	}
	made := make([]any, len(list))
	for i, item := range list {
		v, err := of(item)
		if err != nil {
			return nil, err
		}
		made[i] = v
	}
	return made, nil
}

// mapped is map('filter', …) or map(attribute='name').
func mapped(f *frame, v any, a *args) (any, error) {
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	if len(a.pos) > 0 {
		name, err := wantString(a.pos[0])
		if err != nil {
			return nil, err
		}
		return f.each(list, func(item any) (any, error) { return f.filter(name, item, &args{a.pos[1:], a.kw}) })
	}
	given, err := a.bind("attribute", "default")
	if err != nil || isUndefined(given[0]) {
		return nil, errors.Join(errors.New("needs the name of a filter or an attribute"), err)
	}
	return f.each(list, func(item any) (any, error) {
		got, err := f.path(item, given[0])
		if isUndefined(got) && !isUndefined(given[1]) {
			return given[1], err
		}
		return got, err
	})
}

func selected(keep bool) filter {
	return func(f *frame, v any, a *args) (any, error) {
		return f.selected(v, a, keep, func(item any) (any, error) { return item, nil })
	}
}

func selectedAttr(keep bool) filter {
	return func(f *frame, v any, a *args) (any, error) {
		if len(a.pos) == 0 {
			return nil, errors.New("needs an attribute")
		}
		return f.selected(v, &args{a.pos[1:], a.kw}, keep, func(item any) (any, error) { return f.path(item, a.pos[0]) })
	}
}

// selected are the items whose value passes the test that the arguments name, or is true if they name none.
func (f *frame) selected(v any, a *args, keep bool, of func(item any) (any, error)) (any, error) {
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	if len(a.kw) > 0 {
		return nil, errors.New("takes no arguments by name")
	}
	if err := f.repeated(len(list), costStep); err != nil {
		return nil, err
	}
	kept := []any{}
	for _, item := range list {
		got, err := of(item)
		if err != nil {
			return nil, err
		}
		pass := truth(got)
		if len(a.pos) > 0 {
			name, err := wantString(a.pos[0])
			if err != nil {
				return nil, err
			}
			if pass, err = f.test(name, got, a.pos[1:]); err != nil {
				return nil, err
			}
		}
		if pass == keep {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

func reverse(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	back := -1
	if s, ok := v.(string); ok {
		return f.slice(s, nil, nil, &back)
	}
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	return f.slice(list, nil, nil, &back)
}

func items(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	if isUndefined(v) {
		return []any{}, nil
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("%s is no dict", typeOf(v))
	}
	return f.pairs(d)
}

// pairs are the lists [key, value] of a dict.
func (f *frame) pairs(d *Dict) ([]any, error) {
	return f.each(d.keys, func(k any) (any, error) { return []any{k, d.items[k]}, f.charge(2 * costStep) })
}
