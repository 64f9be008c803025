package jinja

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// toJSON is the filter as Hugging Face sets it, json.dumps without escapes for HTML.
func toJSON(f *frame, v any, a *args) (any, error) {
	given, err := a.bind("ensure_ascii", "indent", "separators", "sort_keys")
	if err != nil {
		return nil, err
	}
	w := &jsonWriter{run: f.run, ascii: truth(given[0]), indent: -1, comma: ", ", colon: ": ", sorted: truth(given[3])}
	if given[1] != nil && !isUndefined(given[1]) {
		i, ok := asInt(given[1])
		if !ok {
			return nil, fmt.Errorf("indent is %s, want a number", typeOf(given[1]))
		}
		if err := f.charge(max(i, 0)); err != nil {
			return nil, err
		}
		w.indent, w.comma = max(i, 0), ","
	}
	if pair, ok := given[2].([]any); ok && len(pair) == 2 {
		comma, isComma := pair[0].(string)
		colon, isColon := pair[1].(string)
		if !isComma || !isColon {
			return nil, errors.New("separators are not two strings")
		}
		w.comma, w.colon = comma, colon
	}
	err = w.value(v, 0)
	return w.b.String(), err
}

type jsonWriter struct {
	*run
	b             strings.Builder
	ascii, sorted bool
	indent        int // -1 for one line
	comma, colon  string
}

func (w *jsonWriter) value(v any, level int) error {
	if err := w.enter(); err != nil {
		return err
	}
	defer w.leave()
	switch v := v.(type) {
	case nil:
		return w.put(&w.b, "null")
	case bool:
		return w.put(&w.b, strconv.FormatBool(v))
	case int:
		return w.put(&w.b, strconv.Itoa(v))
	case float64:
		s := map[string]string{"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[formatFloat(v)]
		if s == "" {
			s = formatFloat(v)
		}
		return w.put(&w.b, s)
	case string:
		return w.quoted(v)
	case []any:
		return w.items('[', ']', len(v), level, func(i int) error { return w.value(v[i], level+1) })
	case *Dict:
		return w.dict(v, level)
	}
	return fmt.Errorf("%s cannot be written as JSON", typeOf(v))
}

func (w *jsonWriter) dict(d *Dict, level int) error {
	keys := d.keys
	if w.sorted {
		var err error
		if keys, err = w.sort(keys, func(v any) (any, error) { return v, nil }, false); err != nil {
			return err
		}
	}
	return w.items('{', '}', len(keys), level, func(i int) error {
		k := keys[i]
		if _, ok := k.(string); !ok {
			name := &jsonWriter{run: w.run}
			if err := name.value(k, 0); err != nil {
				return err
			}
			k = name.b.String()
		}
		if err := w.value(k, level+1); err != nil {
			return err
		}
		if err := w.put(&w.b, w.colon); err != nil {
			return err
		}
		return w.value(d.items[keys[i]], level+1)
	})
}

func (w *jsonWriter) items(open, end byte, n, level int, item func(i int) error) error {
	w.b.WriteByte(open)
	for i := range n {
		if i > 0 {
			if err := w.put(&w.b, w.comma); err != nil {
				return err
			}
		}
		if err := w.line(level + 1); err != nil {
			return err
		}
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		if err := w.line(level); err != nil {
			return err
		}
	}
	w.b.WriteByte(end)
	return nil
}

func (w *jsonWriter) line(level int) error {
	if w.indent < 0 {
		return nil
	}
	if err := w.repeated(w.indent, level); err != nil {
		return err
	}
	w.b.WriteByte('\n')
	w.b.WriteString(strings.Repeat(" ", w.indent*level))
	return nil
}

func (w *jsonWriter) quoted(s string) error {
	if err := w.repeated(len(s), 4); err != nil {
		return err
	}
	w.b.WriteByte('"')
	for _, c := range s {
		if i := strings.IndexRune("\"\\\n\r\t\b\f", c); i >= 0 {
			w.b.WriteByte('\\')
			w.b.WriteByte("\"\\nrtbf"[i])
		} else if c < ' ' || w.ascii && c > '~' && c < 0x10000 {
			fmt.Fprintf(&w.b, `\u%04x`, c)
		} else if w.ascii && c >= 0x10000 {
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, high, low)
		} else {
			w.b.WriteRune(c)
		}
	}
	w.b.WriteByte('"')
	return nil
}
