package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

type filter func(f *frame, v any, a *args) (any, error)

var filters map[string]filter

func init() { // some filters call others by name
	filters = map[string]filter{
		"tojson": toJSON, "string": text, "safe": text, "escape": escape, "e": escape, "indent": indent,
		"trim": ofText("strip"), "replace": ofText("replace"), "lower": ofText("lower"), "upper": ofText("upper"),
		"title": ofText("title"), "capitalize": ofText("capitalize"),
		"default": fallback, "d": fallback, "attr": attr, "length": length, "count": length,
		"int": toInt, "float": toFloat, "abs": abs, "round": round,
		"list": toList, "first": first, "last": last, "join": join, "items": items, "dictsort": dictSort,
		"map": mapped, "select": selected(true), "reject": selected(false),
		"selectattr": selectedAttr(true), "rejectattr": selectedAttr(false),
		"sort": sorted, "unique": unique, "reverse": reverse, "min": extreme(-1), "max": extreme(1), "sum": sum,
	}
}

func (f *frame) filter(name string, v any, a *args) (any, error) {
	fn, ok := filters[name]
	if !ok {
		return nil, fmt.Errorf("filter %s: %w", name, ErrUnsupported)
	}
	v, err := fn(f, v, a)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	return v, nil
}

func text(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	return f.text(v)
}

// ofText is the filter that a method of strings is, on what prints as the value.
func ofText(method string) filter {
	return func(f *frame, v any, a *args) (any, error) {
		s, err := f.text(v)
		if err != nil {
			return nil, err
		}
		return stringMethods[method](f, s, a)
	}
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

func escape(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	s, err := f.text(v)
	if err != nil {
		return nil, err
	}
	if err := f.repeated(len(s), 5); err != nil {
		return nil, err
	}
	return escapes.Replace(s), nil
}

func indent(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("width", "first", "blank")
	if err != nil {
		return nil, err
	}
	s, err := f.text(v)
	if err != nil {
		return nil, err
	}
	space, ok := given[0].(string)
	if !ok {
		n, err := wantInt(given[0], 4)
		if err != nil {
			return nil, err
		}
		if err := f.charge(max(n, 0)); err != nil {
			return nil, err
		}
		space = strings.Repeat(" ", max(n, 0))
	}
	lines := 1 + strings.Count(s, "\n")
	if err := f.repeated(lines, len(space)+costStep); err != nil {
		return nil, err
	}
	if err := f.charge(len(s)); err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, line := range strings.SplitAfter(s, "\n") {
		if i == 0 && truth(given[1]) || i > 0 && (strings.TrimSuffix(line, "\n") != "" || truth(given[2])) {
			b.WriteString(space)
		}
		b.WriteString(line)
	}
	return b.String(), nil
}

func fallback(_ *frame, v any, a *args) (any, error) {
	given, err := a.bind("default_value", "boolean")
	if err != nil {
		return nil, err
	}
	if isUndefined(v) || truth(given[1]) && !truth(v) {
		if isUndefined(given[0]) && len(a.pos) == 0 {
			return "", nil
		}
		return given[0], nil
	}
	return v, nil
}

func attr(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("name")
	if err != nil {
		return nil, err
	}
	name, err := wantString(given[0])
	if err != nil {
		return nil, err
	}
	return f.attribute(v, name)
}

func length(f *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		return utf8.RuneCountInString(s), f.scan(len(s))
	}
	list, err := f.list(v)
	return len(list), err
}

func toInt(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("default")
	if err != nil {
		return nil, err
	}
	if x, ok := asFloat(v); ok && math.Abs(x) < 1<<62 {
		return int(x), nil
	}
	if s, ok := v.(string); ok && f.scan(len(s)) == nil {
		if i, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
			return i, nil
		}
		if x, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && math.Abs(x) < 1<<62 {
			return int(x), nil
		}
	}
	if isUndefined(given[0]) {
		return 0, nil
	}
	return given[0], nil
}

func toFloat(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("default")
	if err != nil {
		return nil, err
	}
	if x, ok := asFloat(v); ok {
		return x, nil
	}
	if s, ok := v.(string); ok && f.scan(len(s)) == nil {
		if x, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return x, nil
		}
	}
	if isUndefined(given[0]) {
		return 0.0, nil
	}
	return given[0], nil
}

func abs(_ *frame, v any, a *args) (any, error) {
	if _, err := a.bind(); err != nil {
		return nil, err
	}
	if i, ok := asInt(v); ok {
		return max(i, -i), nil
	}
	x, ok := asFloat(v)
	if !ok {
		return nil, fmt.Errorf("%s is no number", typeOf(v))
	}
	return math.Abs(x), nil
}

func round(_ *frame, v any, a *args) (any, error) {
	given, err := a.bind("precision", "method")
	if err != nil {
		return nil, err
	}
	x, ok := asFloat(v)
	digits, err := wantInt(given[0], 0)
	if !ok || err != nil {
		return nil, errors.Join(fmt.Errorf("round of %s", typeOf(v)), err)
	}
	to := map[any]func(float64) float64{"common": math.RoundToEven, "floor": math.Floor, "ceil": math.Ceil}
	if isUndefined(given[1]) {
		given[1] = "common"
	}
	method, ok := given[1].(string)
	if !ok || to[method] == nil {
		return nil, errors.New("method is none of common, floor and ceil")
	}
	factor := math.Pow(10, float64(digits))
	return to[method](x*factor) / factor, nil
}
