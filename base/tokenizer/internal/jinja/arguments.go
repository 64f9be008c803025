package jinja

import (
	"fmt"
	"maps"
	"slices"
)

// arguments are those of a call as they are written.
type arguments struct {
	pos   []expr
	names []string
	named []expr
}

// args are what a function, a filter or a macro is called with.
type args struct {
	pos []any
	kw  map[string]any
}

func (f *frame) evalArgs(written arguments) (*args, error) {
	pos, err := f.evalAll(written.pos)
	if err != nil {
		return nil, err
	}
	if err := f.repeated(1+2*len(written.names), costStep); err != nil {
		return nil, err
	}
	a := &args{pos: pos}
	for i, name := range written.names {
		v, err := f.eval(written.named[i])
		if err != nil {
			return nil, err
		}
		if a.kw == nil {
			a.kw = map[string]any{}
		}
		if _, ok := a.kw[name]; ok {
			return nil, fmt.Errorf("argument %s is given twice", name)
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
