package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// undefined is the value of a name or an item that is not there: it is false and prints as nothing.
type undefined struct{ name string }

func isUndefined(v any) bool {
	_, ok := v.(undefined)
	return ok
}

// function is what can be called: a global, a macro or a method of a value.
type function struct {
	name string
	call func(f *frame, a *args) (any, error)
}

// namespace is the one value that a template can change, by set.
type namespace struct{ vars map[string]any }

// Dict is a dict that keeps the order of its keys.
type Dict struct {
	keys  []any
	items map[any]any
}

// Set gives a value to a key.
func (d *Dict) Set(key string, value any) { d.set(key, value) }

// set takes a key as the function key returns it.
func (d *Dict) set(key, value any) {
	if d.items == nil {
		d.items = map[any]any{}
	}
	if _, ok := d.items[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.items[key] = value
}

// key is what finds a value in a dict; numbers that are equal are the same key.
func key(v any) (any, bool) {
	switch v := v.(type) {
	case nil, string, int:
		return v, true
	case bool:
		i, _ := asInt(v)
		return i, true
	case float64:
		if i := int(v); float64(i) == v && math.Abs(v) < 1<<53 {
			return i, true
		}
		return v, !math.IsNaN(v)
	}
	return nil, false
}

// asInt is the value of an int or a bool.
func asInt(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// asFloat is the value of a number or a bool.
func asFloat(v any) (float64, bool) {
	if x, ok := v.(float64); ok {
		return x, true
	}
	i, ok := asInt(v)
	return float64(i), ok
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case undefined:
		if v.name == "" {
			return "undefined"
		}
		return "undefined (" + v.name + ")"
	case bool:
		return "a bool"
	case int, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case *Dict:
		return "a dict"
	case *function:
		return "a function"
	case *namespace:
		return "a namespace"
	}
	return "a loop"
}

// list is what a loop over a value goes through; it must not be changed.
func (r *run) list(v any) ([]any, error) {
	switch v := v.(type) {
	case undefined:
		return nil, nil
	case []any:
		return v, nil
	case *Dict:
		return v.keys, nil
	case string:
		n := utf8.RuneCountInString(v)
		if err := r.repeated(n, costStep); err != nil {
			return nil, err
		}
		list := make([]any, 0, n)
		for len(v) > 0 {
			_, size := utf8.DecodeRuneInString(v)
			list, v = append(list, v[:size]), v[size:]
		}
		return list, nil
	}
	return nil, fmt.Errorf("%s is no list", typeOf(v))
}

// text is Python's str.
func (r *run) text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case undefined:
		return "", nil
	}
	var b strings.Builder
	err := r.repr(&b, v)
	return b.String(), err
}

// repr appends Python's repr.
func (r *run) repr(b *strings.Builder, v any) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.leave()
	switch v := v.(type) {
	case nil:
		return r.put(b, "None")
	case bool:
		if v {
			return r.put(b, "True")
		}
		return r.put(b, "False")
	case int:
		return r.put(b, strconv.Itoa(v))
	case float64:
		return r.put(b, formatFloat(v))
	case string:
		s, err := r.quote(v)
		if err != nil {
			return err
		}
		return r.put(b, s)
	case []any:
		return r.joined(b, "[", "]", len(v), func(i int) error { return r.repr(b, v[i]) })
	case *Dict:
		return r.joined(b, "{", "}", len(v.keys), func(i int) error {
			if err := r.repr(b, v.keys[i]); err != nil {
				return err
			}
			if err := r.put(b, ": "); err != nil {
				return err
			}
			return r.repr(b, v.items[v.keys[i]])
		})
	case *namespace:
		return r.put(b, "namespace")
	case *function:
		return r.put(b, "function")
	case *loop:
		return r.put(b, "loop")
	}
	return r.put(b, "Undefined")
}

func (r *run) joined(b *strings.Builder, open, end string, n int, item func(i int) error) error {
	for i := range n {
		if err := r.put(b, open); err != nil {
			return err
		}
		if err := item(i); err != nil {
			return err
		}
		open = ", "
	}
	if n == 0 {
		end = open + end
	}
	return r.put(b, end)
}

// quote is Python's repr of a string.
func (r *run) quote(s string) (string, error) {
	if err := r.repeated(len(s), 4); err != nil {
		return "", err
	}
	mark := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	var b strings.Builder
	b.WriteRune(mark)
	for _, c := range s {
		switch {
		case c == mark || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteRune(mark)
	return b.String(), nil
}

// formatFloat is Python's repr of a float.
func formatFloat(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
