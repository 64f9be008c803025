package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
)

// splitter cuts text into the words that byte pairs are merged within. Its steps apply one after the other, each to the
// pieces of the one before.
type splitter struct {
	nfc   bool
	steps []step
	bytes bool // a tokenizer.json's ByteLevel has been seen; it comes last
}

type step struct {
	name string // distinguishes steps in String
	cut  func(s string, emit func(string))
}

// String identifies what the splitter does.
func (s *splitter) String() string {
	names := make([]string, 0, len(s.steps)+1)
	if s.nfc {
		names = append(names, "nfc")
	}
	for _, st := range s.steps {
		names = append(names, st.name)
	}
	return strings.Join(names, " → ")
}

func (s *splitter) words(text string, emit func(string)) {
	if s.nfc {
		text = norm.NFC.String(text)
	}
	s.from(0, text, emit)
}

func (s *splitter) from(i int, text string, emit func(string)) {
	if text == "" {
		return
	}
	if i == len(s.steps) {
		emit(text)
		return
	}
	s.steps[i].cut(text, func(p string) { s.from(i+1, p, emit) })
}

var (
	gpt2Step   = step{"gpt2", cutGPT2}
	digitsStep = step{"digits", func(s string, emit func(string)) { cutDigits(s, true, emit) }}
)

// cutDigits separates numbers from other text; with single, every digit by itself.
func cutDigits(s string, single bool, emit func(string)) {
	start := 0
	inDigits := false
	for i, r := range s {
		d := unicode.IsNumber(r)
		if i > start && (d != inDigits || d && single) {
			emit(s[start:i])
			start = i
		}
		inDigits = d
	}
	emit(s[start:])
}

// class is a character's class in GPT-2's pattern.
func class(r rune) int {
	switch {
	case unicode.IsSpace(r):
		return 0
	case unicode.IsLetter(r):
		return 1
	case unicode.IsNumber(r):
		return 2
	}
	return 3
}

// cutGPT2 cuts by GPT-2's pattern, written out because Go's regexp has no lookahead:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func cutGPT2(s string, emit func(string)) {
	for len(s) > 0 {
		n := nextGPT2(s)
		emit(s[:n])
		s = s[n:]
	}
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

func nextGPT2(s string) int {
	if s[0] == '\'' {
		for _, c := range contractions {
			if strings.HasPrefix(s, c) {
				return len(c)
			}
		}
	}
	i := 0
	if s[0] == ' ' && len(s) > 1 {
		i = 1
	}
	r, size := utf8.DecodeRuneInString(s[i:])
	if c := class(r); c != 0 {
		j := i + size
		for j < len(s) {
			r, size := utf8.DecodeRuneInString(s[j:])
			if class(r) != c {
				break
			}
			j += size
		}
		return j
	}
	// white space: up to its end, but the last of it goes with the word that follows
	j, last := 0, 0
	for j < len(s) {
		r, size := utf8.DecodeRuneInString(s[j:])
		if class(r) != 0 {
			if last > 0 {
				return last
			}
			return j
		}
		last = j
		j += size
	}
	return j
}

// regexLimit bounds the time that one pattern from a file may take on one piece of text.
const regexLimit = 10 * time.Second

// regexStep cuts at the matches of a pattern: matches and what lies between them become pieces. Where matching takes
// longer than the limit, the rest of the text is one piece.
func regexStep(pattern string) (step, error) {
	re, err := regexp2.Compile(pattern, regexp2.Unicode)
	if err != nil {
		return step{}, fmt.Errorf("pre-tokenizer pattern %q: %w: %w", pattern, ErrUnsupported, err)
	}
	re.MatchTimeout = regexLimit
	return step{"regex " + pattern, func(s string, emit func(string)) {
		runes, offsets := runesOf(s)
		at := 0
		cut := func(to int) {
			if to > at {
				emit(s[offsets[at]:offsets[to]])
				at = to
			}
		}
		m, err := re.FindRunesMatch(runes)
		for ; err == nil && m != nil; m, err = re.FindNextMatch(m) {
			cut(m.Index)
			cut(m.Index + m.Length)
		}
		cut(len(runes))
	}}, nil
}

// runesOf returns the characters of s and where each begins, and last the length of s. A byte that is no UTF-8 counts as
// a character, so that the bytes between two offsets are always those of s.
func runesOf(s string) (runes []rune, offsets []int) {
	runes, offsets = make([]rune, 0, len(s)), make([]int, 0, len(s)+1)
	for i, r := range s {
		runes, offsets = append(runes, r), append(offsets, i)
	}
	return runes, append(offsets, len(s))
}

const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// byName returns the splitter that a GGUF file names in tokenizer.ggml.pre.
func byName(pre string) (*splitter, error) {
	regex := func(pattern string) (*splitter, error) {
		st, err := regexStep(pattern)
		return &splitter{steps: []step{st}}, err
	}
	switch pre {
	case "smollm":
		return &splitter{steps: []step{digitsStep, gpt2Step}}, nil
	case "gpt-2", "default", "":
		return &splitter{steps: []step{gpt2Step}}, nil
	case "llama-bpe", "llama3", "llama-v3":
		return regex(llama3Pattern)
	case "qwen2":
		return regex(qwen2Pattern)
	}
	known := []string{"smollm", "gpt-2", "default", "llama-bpe", "qwen2"}
	slices.Sort(known)
	return nil, fmt.Errorf("pre-tokenizer %q is not among %v: %w", pre, known, ErrUnsupported)
}
