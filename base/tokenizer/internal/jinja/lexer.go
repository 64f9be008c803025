package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	nothing kind = iota
	end          // of the template
	plain        // text outside of braces
	open         // {{ or {%
	closing      // }} or %}
	name         // also and, or, not, in, is, if and else
	integer
	float
	quoted // a string, decoded
	sign
)

type token struct {
	kind kind
	text string
	line int
}

// lexer cuts a template into tokens. White space around blocks goes as Hugging Face sets Jinja: the newline after a block
// and the indent before one are left out.
type lexer struct {
	source    string
	at        int
	tokens    []token
	lineStart bool // nothing but what is left out stands before the text on its line
	trim      bool // the text loses the white space that it begins with
	line, end int  // the line of source[end], counted on from token to token
}

func lex(source string) ([]token, error) {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	l := &lexer{source: strings.TrimSuffix(source, "\n"), lineStart: true, line: 1}
	for l.at < len(l.source) {
		opening := l.text()
		var err error
		switch opening {
		case "{#":
			err = l.comment()
		case "{{":
			err = l.code(opening, "}}")
		case "{%":
			err = l.code(opening, "%}")
		}
		if err != nil {
			return nil, err
		}
	}
	return l.tokens, nil
}

func (l *lexer) emit(k kind, text string, from int) {
	l.line += strings.Count(l.source[l.end:from], "\n")
	l.end = from
	l.tokens = append(l.tokens, token{k, text, l.line})
}

// text takes the text up to the next braces and returns those, which it also takes, with a sign for white space.
func (l *lexer) text() (opening string) {
	from := l.at
	for {
		i := strings.IndexByte(l.source[l.at:], '{')
		if i < 0 {
			l.at = len(l.source)
			l.plain(l.source[from:], from)
			return ""
		}
		l.at += i
		opening = l.source[l.at:min(l.at+2, len(l.source))]
		if opening == "{{" || opening == "{%" || opening == "{#" {
			break
		}
		l.at++
	}
	text := l.source[from:l.at]
	l.at += 2
	switch control := l.source[l.at:min(l.at+1, len(l.source))]; {
	case control == "-":
		l.at++
		text = strings.TrimRightFunc(text, unicode.IsSpace)
	case control == "+" && opening != "{{":
		l.at++
	case opening != "{{":
		begin := strings.LastIndexByte(text, '\n') + 1
		if (begin > 0 || l.lineStart) && strings.TrimSpace(text[begin:]) == "" {
			text = text[:begin]
		}
	}
	l.plain(text, from)
	return opening
}

func (l *lexer) plain(text string, from int) {
	if l.trim {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	l.trim = false
	if text != "" {
		l.emit(plain, text, from)
	}
}

// after takes what follows closing braces: with a minus before them all white space, or else a newline after a block.
func (l *lexer) after(control byte, block bool) {
	l.lineStart = false
	if control == '-' {
		l.trim = true
		rest := strings.TrimLeftFunc(l.source[l.at:], unicode.IsSpace)
		l.lineStart = strings.HasSuffix(l.source[l.at:len(l.source)-len(rest)], "\n")
	} else if block && control != '+' && strings.HasPrefix(l.source[l.at:], "\n") {
		l.at++
		l.lineStart = true
	}
}

func (l *lexer) comment() error {
	i := strings.Index(l.source[l.at:], "#}")
	if i < 0 {
		return l.fail("a comment is not closed")
	}
	var control byte
	if i > 0 {
		control = l.source[l.at+i-1]
	}
	l.at += i + 2
	l.after(control, true)
	return nil
}

func (l *lexer) fail(format string, a ...any) error {
	line := 1 + strings.Count(l.source[:l.at], "\n")
	return &positioned{line, fmt.Errorf(format, a...)}
}

// code takes what stands between braces.
func (l *lexer) code(opening, close string) error {
	l.emit(open, opening, l.at-2)
	first, depth := len(l.tokens), 0
	for {
		rest := l.source[l.at:]
		if rest == "" {
			return l.fail("%s is not closed", opening)
		}
		if depth == 0 {
			control := rest[0]
			if (control == '-' || control == '+' && close == "%}") && strings.HasPrefix(rest[1:], close) {
				rest = rest[1:]
			} else {
				control = 0
			}
			if strings.HasPrefix(rest, close) {
				raw := len(l.tokens) == first+1 && l.tokens[first].text == "raw" && close == "%}"
				l.at = len(l.source) - len(rest) + 2
				l.emit(closing, close, l.at-2)
				l.after(control, close == "%}" && !raw)
				if raw {
					return l.raw()
				}
				return nil
			}
		}
		t, size, err := l.next(rest)
		if err != nil {
			return err
		}
		if t.kind == sign && strings.ContainsAny(t.text, "([{") {
			depth++
		}
		if t.kind == sign && strings.ContainsAny(t.text, ")]}") {
			if depth--; depth < 0 {
				return l.fail("%s closes nothing", t.text)
			}
		}
		if t.kind != nothing {
			l.emit(t.kind, t.text, l.at)
		}
		l.at += size
	}
}

// raw takes the text up to {% endraw %}.
func (l *lexer) raw() error {
	for from, search := l.at, l.at; ; {
		i := strings.Index(l.source[search:], "{%")
		if i < 0 {
			return l.fail("raw is not closed")
		}
		search += i + 2
		if word := strings.TrimLeft(l.source[search:], "-+ \t\n"); strings.HasPrefix(word, "endraw") {
			text := l.source[from : search-2]
			if strings.HasPrefix(l.source[search:], "-") {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			l.plain(text, from)
			l.at = search + len(l.source[search:]) - len(strings.TrimLeft(l.source[search:], "-+"))
			return l.code("{%", "%}")
		}
	}
}

const longSigns = "** // == != <= >="

// next is the token that a text begins with, and its length.
func (l *lexer) next(s string) (token, int, error) {
	c, size := utf8.DecodeRuneInString(s)
	switch {
	case unicode.IsSpace(c):
		return token{kind: nothing}, size, nil
	case c == '_' || unicode.IsLetter(c):
		n := strings.IndexFunc(s, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) })
		if n < 0 {
			n = len(s)
		}
		return token{kind: name, text: s[:n]}, n, nil
	case c >= '0' && c <= '9':
		k, n := number(s, len(l.tokens) > 0 && l.tokens[len(l.tokens)-1].text == ".")
		return token{kind: k, text: s[:n]}, n, nil
	case c == '"' || c == '\'':
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == byte(c) {
				return token{kind: quoted, text: unescape(s[1:i])}, i + 1, nil
			}
		}
		return token{}, 0, l.fail("a string is not closed")
	}
	if len(s) > 1 && strings.Contains(longSigns, s[:2]) && s[1] != ' ' && s[0] != ' ' {
		return token{kind: sign, text: s[:2]}, 2, nil
	}
	if strings.ContainsRune("+-*/%~,|.:()[]{}<>=", c) {
		return token{kind: sign, text: s[:1]}, 1, nil
	}
	return token{}, 0, l.fail("unexpected %q", c)
}

// number is the kind and length of the number at the beginning; after a dot it is a whole one.
func number(s string, whole bool) (kind, int) {
	digits := func(i int) int {
		for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
			i++
		}
		return i
	}
	if len(s) > 1 && s[0] == '0' && strings.ContainsAny(s[1:2], "xXoObB") {
		i := 2
		for i < len(s) && strings.IndexByte("0123456789abcdefABCDEF_", s[i]) >= 0 {
			i++
		}
		return integer, i
	}
	k, n := integer, digits(0)
	if whole {
		return k, n
	}
	if i := digits(n + 1); n < len(s) && s[n] == '.' && i > n+1 {
		k, n = float, i
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		i := n + 1
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if j := digits(i); j > i {
			k, n = float, j
		}
	}
	return k, n
}

var simpleEscapes = map[byte]string{
	'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f", 'v': "\v", 'a': "\a", '\\': `\`, '\'': `'`, '"': `"`, '\n': "",
}

// unescape decodes a string as Python does; what is no escape stays.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if text, ok := simpleEscapes[s[i]]; ok {
			b.WriteString(text)
			continue
		}
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		var c rune
		if _, err := fmt.Sscanf(s[i+1:min(i+1+n, len(s))], fmt.Sprintf("%%%dx", n), &c); n > 0 && err == nil && i+n < len(s) {
			b.WriteRune(c)
			i += n
			continue
		}
		b.WriteByte('\\')
		b.WriteByte(s[i])
	}
	return b.String()
}
