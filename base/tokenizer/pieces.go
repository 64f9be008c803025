package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pieces says how a vocabulary in SentencePiece's manner (arXiv 1808.06226) is used: tokens are characters and what they
// merge into, a space is written as a mark, and a character that is no token becomes the tokens of its bytes.
type pieces struct {
	prefix prefix
	split  bool  // words begin at marks; otherwise a text is one word
	unk    int32 // stands for a character without tokens of its bytes, -1 for nothing
	fuse   bool  // one for several such characters side by side
}

// prefix says where a mark is put before a text.
type prefix string

const (
	never prefix = "never"
	// always is before every text between added tokens.
	always prefix = "always"
	// unmarked is always, but where a mark is there already.
	unmarked prefix = "unmarked"
	// first is unmarked, but only where no token is before the text.
	first prefix = "first"
)

// mark is how a space is written.
const mark = "▁"

// String identifies what is done.
func (p *pieces) String() string {
	return fmt.Sprintf("pieces: prefix %s, split %v, unknown %d, fused %v", p.prefix, p.split, p.unk, p.fuse)
}

// words calls emit for the words of a text, spaces as marks.
func (p *pieces) words(text string, begins bool, emit func(string)) {
	text = strings.ReplaceAll(text, " ", mark)
	marked := strings.HasPrefix(text, mark)
	if p.prefix == always || p.prefix == unmarked && !marked || p.prefix == first && begins && !marked {
		text = mark + text
	}
	if !p.split {
		emit(text)
		return
	}
	for text != "" {
		n := strings.Index(text[1:], mark) + 1
		if n == 0 {
			n = len(text)
		}
		emit(text[:n])
		text = text[n:]
	}
}

// byteToken is the text of the token that stands for a byte.
func byteToken(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// byteOf is the inverse of byteToken.
func byteOf(tok string) (byte, bool) {
	if len(tok) != 6 || !strings.HasPrefix(tok, "<0x") || tok[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(tok[3:5], 16, 8)
	return byte(b), err == nil
}

// symbols returns the characters of a word as a list of tokens.
func (t *Tokenizer) symbols(w string) []symbol {
	syms := make([]symbol, 0, len(w))
	add := func(id int32) { syms = append(syms, symbol{id, len(syms) - 1, len(syms) + 1}) }
	unknown := false
	for i := 0; i < len(w); {
		_, n := utf8.DecodeRuneInString(w[i:])
		c := w[i : i+n]
		i += n
		id, known := t.ids[c]
		if !known {
			known, id = t.hasBytes(c), -1
		}
		switch {
		case id >= 0:
			add(id)
		case known:
			for _, b := range []byte(c) {
				add(t.bytes[b])
			}
		case t.pieces.unk >= 0 && !(unknown && t.pieces.fuse):
			add(t.pieces.unk)
		}
		unknown = !known
	}
	return syms
}

func (t *Tokenizer) hasBytes(c string) bool {
	for i := range len(c) {
		if t.bytes[c[i]] < 0 {
			return false
		}
	}
	return true
}

// appendPiece appends the text of a token.
func appendPiece(b []byte, tok string) []byte {
	if c, ok := byteOf(tok); ok {
		return append(b, c)
	}
	return append(b, strings.ReplaceAll(tok, mark, " ")...)
}

// mergesByScore returns the merges that SentencePiece's scores stand for: two tokens merge where their texts together are a
// token, the one of the highest score first. ranks has the rank of each.
func mergesByScore(tokens []string, scores []float32, usable func(id int) bool) (merges []string, ranks []int32, err error) {
	ids := make(map[string]int, len(tokens))
	distinct := make([]float32, 0, len(tokens))
	for i, tok := range tokens {
		if s := float64(scores[i]); math.IsNaN(s) {
			return nil, nil, fmt.Errorf("the score of token %d is not a number: %w", i, ErrInvalid)
		}
		if usable(i) {
			ids[tok] = i
			distinct = append(distinct, -scores[i])
		}
	}
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)
	for i, tok := range tokens {
		if !usable(i) || strings.Contains(tok, " ") {
			continue
		}
		rank, _ := slices.BinarySearch(distinct, -scores[i])
		for at := range tok {
			if at == 0 {
				continue
			}
			if _, ok := ids[tok[:at]]; !ok {
				continue
			}
			if _, ok := ids[tok[at:]]; ok {
				merges, ranks = append(merges, tok[:at]+" "+tok[at:]), append(ranks, int32(rank))
			}
		}
	}
	return merges, ranks, nil
}
