package jinja

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/tokens"
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

// by is what a list is sorted, compared or summed by: an attribute if there is one, strings without their case.
func (f *frame) by(attribute, caseSensitive any) func(v any) (any, error) {
	return func(v any) (any, error) {
		var err error
		if attribute != nil && !isUndefined(attribute) {
			if v, err = f.path(v, attribute); err != nil {
				return nil, err
			}
		}
		if s, ok := v.(string); ok && !truth(caseSensitive) {
			return strings.ToLower(s), f.repeated(len(s), 2)
		}
		return v, nil
	}
}

// sort returns the list in the order of what by makes of its items.
func (r *run) sort(list []any, by func(v any) (any, error), backward bool) ([]any, error) {
	if err := r.repeated(len(list), 4*costItem+costStep*bits.Len(uint(len(list)))); err != nil {
		return nil, err
	}
	type keyed struct{ key, item any }
	all := make([]keyed, len(list))
	for i, item := range list {
		k, err := by(item)
		if err != nil {
			return nil, err
		}
		all[i] = keyed{k, item}
	}
	var failed error
	slices.SortStableFunc(all, func(a, b keyed) int {
		if failed != nil {
			return 0
		}
		var c int
		c, failed = r.compare(a.key, b.key)
		if backward {
			return -c
		}
		return c
	})
	done := make([]any, len(list))
	for i, k := range all {
		done[i] = k.item
	}
	return done, failed
}

func sorted(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("reverse", "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	return f.sort(list, f.by(given[2], given[1]), truth(given[0]))
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
	given, err := a.bind("d", "attribute")
	if err != nil {
		return nil, err
	}
	list, err := f.list(v)
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
	if err := r.repeated(len(list), costItem+len(d)); err != nil {
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
	if err := f.repeated(len(list), costItem); err != nil {
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
	if err := f.repeated(len(list), costItem); err != nil {
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

func unique(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	if err := f.repeated(len(list), 3*costItem); err != nil {
		return nil, err
	}
	by := f.by(given[1], given[0])
	seen, kept := map[any]bool{}, []any{}
	for _, item := range list {
		got, err := by(item)
		if err != nil {
			return nil, err
		}
		k, ok := key(got)
		if !ok {
			return nil, fmt.Errorf("%s cannot be looked for", typeOf(got))
		}
		if !seen[k] {
			seen[k], kept = true, append(kept, item)
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

// extreme is the item that comes first (sign -1) or last (1).
func extreme(sign int) filter {
	return func(f *frame, v any, a *args) (any, error) {
		given, err := a.bind("case_sensitive", "attribute")
		if err != nil {
			return nil, err
		}
		list, err := f.list(v)
		if err != nil {
			return nil, err
		}
		by := f.by(given[1], given[0])
		var best, bestKey any = undefined{"item"}, nil
		for i, item := range list {
			k, err := by(item)
			if err != nil {
				return nil, err
			}
			c := sign
			if i > 0 {
				if c, err = f.compare(k, bestKey); err != nil {
					return nil, err
				}
			}
			if c*sign > 0 {
				best, bestKey = item, k
			}
		}
		return best, nil
	}
}

func sum(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("attribute", "start")
	if err != nil {
		return nil, err
	}
	list, err := f.list(v)
	if err != nil {
		return nil, err
	}
	var total any = 0
	if !isUndefined(given[1]) {
		total = given[1]
	}
	by := f.by(given[0], true)
	for _, item := range list {
		x, err := by(item)
		if err != nil {
			return nil, err
		}
		if err := f.charge(costStep); err != nil {
			return nil, err
		}
		if total, err = f.arithmetic(tokens.Addition, total, x); err != nil {
			return nil, err
		}
	}
	return total, nil
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
	return f.each(d.keys, func(k any) (any, error) { return []any{k, d.items[k]}, f.charge(2 * costItem) })
}

func dictSort(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("case_sensitive", "by", "reverse")
	if err != nil {
		return nil, err
	}
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("%s is no dict", typeOf(v))
	}
	pairs, err := f.pairs(d)
	if err != nil {
		return nil, err
	}
	at := 0
	if given[1] == "value" {
		at = 1
	}
	return f.sort(pairs, f.by(at, given[0]), truth(given[2]))
}
