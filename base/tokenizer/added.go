package tokenizer

import (
	"slices"
	"strings"
	"unicode"
)

// added is a token that is found whole in the text, before the text between such tokens is cut into words.
type added struct {
	id   int32
	text string
	// plain marks a token that is no control token: it is found also where special tokens are ordinary text.
	plain bool
	// lstrip and rstrip say that white space before or after the token belongs to it.
	lstrip, rstrip bool
}

// addedTokens holds added tokens by their first byte, the longest first.
type addedTokens struct {
	by    [256][]added
	plain bool // there is a plain one
}

func newAddedTokens(list []added) *addedTokens {
	t := &addedTokens{}
	for _, a := range list {
		if a.text == "" {
			continue
		}
		t.by[a.text[0]] = append(t.by[a.text[0]], a)
		t.plain = t.plain || a.plain
	}
	for _, l := range t.by {
		slices.SortStableFunc(l, func(a, b added) int { return len(b.text) - len(a.text) })
	}
	return t
}

// match returns the longest added token that s begins with; without special, only plain ones count.
func (t *addedTokens) match(s string, special bool) (added, bool) {
	for _, a := range t.by[s[0]] {
		if (special || a.plain) && strings.HasPrefix(s, a.text) {
			return a, true
		}
	}
	return added{}, false
}

// cut calls text for what lies between the added tokens of s, and token for each of them, in order.
func (t *addedTokens) cut(s string, special bool, text func(string), token func(int32)) {
	start := 0
	for i := 0; i < len(s) && (special || t.plain); {
		a, ok := t.match(s[i:], special)
		if !ok {
			i++
			continue
		}
		before := s[start:i]
		if a.lstrip {
			before = strings.TrimRightFunc(before, unicode.IsSpace)
		}
		text(before)
		token(a.id)
		i += len(a.text)
		if a.rstrip {
			i = len(s) - len(strings.TrimLeftFunc(s[i:], unicode.IsSpace))
		}
		start = i
	}
	text(s[start:])
}
