package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method is the method of a value, nil if it has none of that name. None changes the value.
func (f *frame) method(v any, name string) *function {
	switch v := v.(type) {
	case string:
		if m, ok := stringMethods[name]; ok {
			return &function{name, func(f *frame, a *args) (any, error) { return m(f, v, a) }}
		}
	case []any:
		if m, ok := listMethods[name]; ok {
			return &function{name, func(f *frame, a *args) (any, error) { return m(f, v, a) }}
		}
	case *Dict:
		if m, ok := dictMethods[name]; ok {
			return &function{name, func(f *frame, a *args) (any, error) { return m(f, v, a) }}
		}
	}
	return nil
}

var dictMethods = map[string]func(f *frame, d *Dict, a *args) (any, error){
	"get": func(f *frame, d *Dict, a *args) (any, error) {
		given, err := a.bind("key", "default")
		if err != nil {
			return nil, err
		}
		if k, ok := key(given[0]); ok {
			if v, ok := d.items[k]; ok {
				return v, nil
			}
		}
		if isUndefined(given[1]) {
			return nil, nil
		}
		return given[1], nil
	},
	"items": func(f *frame, d *Dict, a *args) (any, error) { return items(f, d, a) },
	"keys":  func(f *frame, d *Dict, a *args) (any, error) { return toList(f, d, a) },
	"values": func(f *frame, d *Dict, a *args) (any, error) {
		if _, err := a.bind(); err != nil {
			return nil, err
		}
		return f.each(d.keys, func(k any) (any, error) { return d.items[k], nil })
	},
}

var listMethods = map[string]func(f *frame, list []any, a *args) (any, error){
	"count": func(f *frame, list []any, a *args) (any, error) {
		n, _, err := f.find(list, a)
		return n, err
	},
	"index": func(f *frame, list []any, a *args) (any, error) {
		n, at, err := f.find(list, a)
		if err == nil && n == 0 {
			err = errors.New("it is not in the list")
		}
		return at, err
	},
}

// find counts the items that are equal to the one argument, and says where the first one is.
func (f *frame) find(list []any, a *args) (n, at int, err error) {
	given, err := a.bind("value")
	if err != nil {
		return 0, 0, err
	}
	for i, item := range list {
		same, err := f.equal(item, given[0])
		if err != nil {
			return 0, 0, err
		}
		if same && n == 0 {
			at = i
		}
		if same {
			n++
		}
	}
	return n, at, nil
}

var stringMethods = map[string]func(f *frame, s string, a *args) (any, error){
	"strip":        trimmed("chars", strings.TrimSpace, strings.Trim),
	"lstrip":       trimmed("chars", func(s string) string { return strings.TrimLeftFunc(s, unicode.IsSpace) }, strings.TrimLeft),
	"rstrip":       trimmed("chars", func(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }, strings.TrimRight),
	"removeprefix": withPart(func(s, part string) any { return strings.TrimPrefix(s, part) }),
	"removesuffix": withPart(func(s, part string) any { return strings.TrimSuffix(s, part) }),
	"startswith":   withAny(strings.HasPrefix),
	"endswith":     withAny(strings.HasSuffix),
	"find":         withPart(func(s, part string) any { return characters(s, strings.Index(s, part)) }),
	"rfind":        withPart(func(s, part string) any { return characters(s, strings.LastIndex(s, part)) }),
	"count":        withPart(func(s, part string) any { return strings.Count(s, part) }),
	"lower":        changed(strings.ToLower),
	"upper":        changed(strings.ToUpper),
	"title":        changed(title),
	"capitalize":   changed(capitalize),
	"isdigit":      all(unicode.IsDigit),
	"isalpha":      all(unicode.IsLetter),
	"isalnum":      all(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
	"isspace":      all(unicode.IsSpace),
	"isupper":      cased(unicode.IsUpper, unicode.IsLower),
	"islower":      cased(unicode.IsLower, unicode.IsUpper),
	"split":        split(false),
	"rsplit":       split(true),
	"splitlines":   splitLines,
	"replace":      replace,
	"join":         joinStrings,
}

type stringMethod = func(f *frame, s string, a *args) (any, error)

// maxCutset bounds the characters that strip takes away: each character of the text is looked for among them.
const maxCutset = 64

func trimmed(name string, space func(string) string, cut func(s, cutset string) string) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		given, err := a.bind(name)
		if err != nil {
			return nil, err
		}
		if given[0] == nil || isUndefined(given[0]) {
			return space(s), f.scan(len(s))
		}
		set, err := wantString(given[0])
		if err != nil {
			return nil, err
		}
		if len(set) > maxCutset {
			return nil, fmt.Errorf("%d bytes of characters to take away: %w", len(set), ErrLimit)
		}
		return cut(s, set), f.repeated(len(s), 1+len(set)/8)
	}
}

// withPart is a method with one string as its argument that makes no new text.
func withPart(do func(s, part string) any) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		given, err := a.bind("part")
		if err != nil {
			return nil, err
		}
		part, err := wantString(given[0])
		if err != nil {
			return nil, err
		}
		return do(s, part), f.scan(2 * len(s))
	}
}

// withAny is a method with a string or a list of them as its argument.
func withAny(do func(s, part string) bool) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		given, err := a.bind("part")
		if err != nil {
			return nil, err
		}
		list, ok := given[0].([]any)
		if !ok {
			list = given
		}
		for _, item := range list {
			part, err := wantString(item)
			if err != nil {
				return nil, err
			}
			if err := f.charge(costStep + len(part)/8); err != nil {
				return nil, err
			}
			if do(s, part) {
				return true, nil
			}
		}
		return false, nil
	}
}

// changed is a method without arguments that makes a text of about the same length.
func changed(do func(string) string) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		if _, err := a.bind(); err != nil {
			return nil, err
		}
		if err := f.repeated(len(s), 2); err != nil {
			return nil, err
		}
		return do(s), nil
	}
}

func title(s string) string {
	inWord := false
	return strings.Map(func(c rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(c)
		if first {
			return unicode.ToTitle(c)
		}
		return unicode.ToLower(c)
	}, s)
}

func capitalize(s string) string {
	_, size := utf8.DecodeRuneInString(s)
	return strings.ToTitle(s[:size]) + strings.ToLower(s[size:])
}

// characters is a place in bytes as one in characters.
func characters(s string, at int) int {
	if at < 0 {
		return at
	}
	return utf8.RuneCountInString(s[:at])
}

func all(is func(c rune) bool) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		if _, err := a.bind(); err != nil {
			return nil, err
		}
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0, f.scan(len(s))
	}
}

// cased holds where a text has characters of one case and none of the other.
func cased(one, other func(c rune) bool) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		if _, err := a.bind(); err != nil {
			return nil, err
		}
		return strings.IndexFunc(s, one) >= 0 && strings.IndexFunc(s, other) < 0, f.scan(2 * len(s))
	}
}

func replace(f *frame, s string, a *args) (any, error) {
	given, err := a.bind("old", "new", "count")
	if err != nil {
		return nil, err
	}
	old, err := wantString(given[0])
	if err != nil {
		return nil, err
	}
	with, err := wantString(given[1])
	if err != nil {
		return nil, err
	}
	limit := -1
	if given[2] != nil {
		if limit, err = wantInt(given[2], -1); err != nil {
			return nil, err
		}
	}
	n := strings.Count(s, old)
	if limit >= 0 {
		n = min(n, limit)
	}
	if err := f.repeated(n, len(with)); err != nil {
		return nil, err
	}
	if err := f.charge(len(s)); err != nil {
		return nil, err
	}
	return strings.Replace(s, old, with, limit), nil
}

func joinStrings(f *frame, s string, a *args) (any, error) {
	given, err := a.bind("list")
	if err != nil {
		return nil, err
	}
	list, err := f.list(given[0])
	if err != nil {
		return nil, err
	}
	for _, item := range list {
		if _, err := wantString(item); err != nil {
			return nil, err
		}
	}
	return f.join(list, s)
}
