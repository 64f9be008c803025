package jinja

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// globals are the functions that every template sees, those included that Hugging Face adds.
var globals = map[string]any{
	"range":           &function{"range", rangeOf},
	"namespace":       &function{"namespace", newNamespace},
	"dict":            &function{"dict", newDict},
	"raise_exception": &function{"raise_exception", raise},
	"strftime_now":    &function{"strftime_now", now},
}

// rangeOf is Python's range, as a list.
func rangeOf(f *frame, a *args) (any, error) {
	v := [3]int{0, 0, 1}
	if len(a.pos) < 1 || len(a.pos) > 3 || len(a.kw) > 0 {
		return nil, fmt.Errorf("%d arguments, want 1 to 3", len(a.pos)+len(a.kw))
	}
	for i, arg := range a.pos {
		n, err := wantInt(arg, 0)
		if err != nil || isUndefined(arg) {
			return nil, errors.Join(errors.New("bounds must be whole numbers"), err)
		}
		if len(a.pos) == 1 {
			i = 1
		}
		v[i] = n
	}
	if v[2] == 0 {
		return nil, errors.New("step 0")
	}
	n := max(0, math.Ceil((float64(v[1])-float64(v[0]))/float64(v[2])))
	if err := f.repeated(int(min(n, 1<<40)), costStep); err != nil {
		return nil, err
	}
	list := make([]any, int(n))
	for i := range list {
		list[i] = v[0] + i*v[2]
	}
	return list, nil
}

func newNamespace(f *frame, a *args) (any, error) {
	if len(a.pos) > 0 {
		return nil, errors.New("takes values by name")
	}
	vars := map[string]any{}
	maps.Copy(vars, a.kw)
	return &namespace{vars}, f.repeated(1+len(vars), costScope)
}

func newDict(f *frame, a *args) (any, error) {
	if len(a.pos) > 0 {
		return nil, errors.New("takes values by name")
	}
	d := &Dict{}
	for _, k := range slices.Sorted(maps.Keys(a.kw)) {
		d.set(k, a.kw[k])
	}
	return d, f.repeated(1+len(d.keys), costScope)
}

func raise(f *frame, a *args) (any, error) {
	given, err := a.bind("message")
	if err != nil {
		return nil, err
	}
	s, err := f.text(given[0])
	if err != nil {
		return nil, err
	}
	return nil, errors.New(s[:min(len(s), 1000)])
}

func now(f *frame, a *args) (any, error) {
	given, err := a.bind("format")
	if err != nil {
		return nil, err
	}
	format, err := wantString(given[0])
	if err != nil {
		return nil, err
	}
	if err := f.repeated(len(format), 8); err != nil {
		return nil, err
	}
	return strftime(time.Now(), format), nil
}
