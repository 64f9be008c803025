package jinja

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// split is the method split, or rsplit, which goes from the end.
func split(backward bool) stringMethod {
	return func(f *frame, s string, a *args) (any, error) {
		given, err := a.bind("sep", "maxsplit")
		if err != nil {
			return nil, err
		}
		limit, err := wantInt(given[1], -1)
		if err != nil {
			return nil, err
		}
		if given[0] == nil || isUndefined(given[0]) {
			if backward {
				list, err := f.words(s, limit, lastWord)
				slices.Reverse(list)
				return list, err
			}
			return f.words(s, limit, firstWord)
		}
		sep, err := wantString(given[0])
		if err != nil {
			return nil, err
		}
		if sep == "" {
			return nil, errors.New("empty separator")
		}
		if err := f.scan(2 * len(s)); err != nil {
			return nil, err
		}
		parts := 1 + strings.Count(s, sep)
		if limit >= 0 && limit < parts {
			parts = limit + 1
		}
		if err := f.repeated(parts, 2*costStep); err != nil {
			return nil, err
		}
		if backward {
			return values(rsplitN(s, sep, parts)), nil
		}
		return values(strings.SplitN(s, sep, parts)), nil
	}
}

func values(texts []string) []any {
	list := make([]any, len(texts))
	for i, s := range texts {
		list[i] = s
	}
	return list
}

// rsplitN is strings.SplitN from the end.
func rsplitN(s, sep string, n int) []string {
	var parts []string
	for len(parts) < n-1 {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts, s = append(parts, s[i+len(sep):]), s[:i]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return parts
}

// words splits at white space into at most limit words and what is left; a negative limit is none.
func (f *frame) words(s string, limit int, word func(s string) (word, rest string)) ([]any, error) {
	if err := f.scan(4 * len(s)); err != nil {
		return nil, err
	}
	list := []any{}
	for {
		w, rest := word(s)
		if w == "" {
			return list, nil
		}
		if err := f.charge(2 * costStep); err != nil {
			return nil, err
		}
		if len(list) == limit {
			return append(list, s), nil
		}
		list, s = append(list, w), rest
	}
}

// firstWord cuts the first word off a text, and the white space around it.
func firstWord(s string) (word, rest string) {
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	i := strings.IndexFunc(s, unicode.IsSpace)
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeftFunc(s[i:], unicode.IsSpace)
}

// lastWord is firstWord from the end.
func lastWord(s string) (word, rest string) {
	s = strings.TrimRightFunc(s, unicode.IsSpace)
	i := strings.LastIndexFunc(s, unicode.IsSpace)
	if i < 0 {
		return s, ""
	}
	_, size := utf8.DecodeRuneInString(s[i:])
	return s[i+size:], strings.TrimRightFunc(s[:i], unicode.IsSpace)
}

func splitLines(f *frame, s string, a *args) (any, error) {
	given, err := a.bind("keepends")
	if err != nil {
		return nil, err
	}
	if err := f.scan(2 * len(s)); err != nil {
		return nil, err
	}
	list := []any{}
	for s != "" {
		if err := f.charge(2 * costStep); err != nil {
			return nil, err
		}
		end, next := len(s), len(s)
		if i := strings.IndexAny(s, "\n\r"); i >= 0 {
			end, next = i, i+1
			if strings.HasPrefix(s[i:], "\r\n") {
				next++
			}
		}
		if truth(given[0]) {
			end = next
		}
		list, s = append(list, s[:end]), s[next:]
	}
	return list, nil
}
