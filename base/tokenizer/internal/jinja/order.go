package jinja

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

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
	if err := r.repeated(len(list), 4*costStep+costStep*bits.Len(uint(len(list)))); err != nil {
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
	list, given, err := f.listed(v, a, "reverse", "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	return f.sort(list, f.by(given[2], given[1]), truth(given[0]))
}

func unique(f *frame, v any, a *args) (any, error) {
	list, given, err := f.listed(v, a, "case_sensitive", "attribute")
	if err != nil {
		return nil, err
	}
	if err := f.repeated(len(list), 3*costStep); err != nil {
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

// extreme is the item that comes first (sign -1) or last (1).
func extreme(sign int) filter {
	return func(f *frame, v any, a *args) (any, error) {
		list, given, err := f.listed(v, a, "case_sensitive", "attribute")
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
	list, given, err := f.listed(v, a, "attribute", "start")
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
		if total, err = f.arithmetic("+", total, x); err != nil {
			return nil, err
		}
	}
	return total, nil
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
