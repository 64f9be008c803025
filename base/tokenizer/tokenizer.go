package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

var (
	// ErrInvalid reports a tokenizer that is damaged or incomplete.
	ErrInvalid = errors.New("invalid tokenizer")
	// ErrUnsupported reports a kind of tokenizer, or a part of one, that this package does not know.
	ErrUnsupported = errors.New("not supported")
)

// Tokenizer is a BPE tokenizer, of bytes or in SentencePiece's manner of characters. It may be used from several goroutines.
type Tokenizer struct {
	// BOS is the token that begins a text, -1 for none; the package adds it nowhere.
	BOS int32
	// EOS are the tokens that end a text or a turn.
	EOS []int32

	tokens   []string // id → text; byte-level characters but for special ones
	special  []bool   // id → is matched whole in the text, and its text is no byte-level form
	ids      map[string]int32
	merges   map[[2]int32]merge
	pairs    []string // the merges in order, for GGUF
	bytes    [256]int32
	split    *splitter
	pieces   *pieces // nil for a byte-level vocabulary
	added    *addedTokens
	list     []added // the added tokens, by id
	ranks    []int32 // of the pairs, nil for their order
	whole    bool    // a word that is a token needs no merges (ignore_merges)
	template string

	mu    sync.RWMutex
	cache map[string][]int32
}

type merge struct{ rank, id int32 }

// maxCached bounds the number and the length of cached words.
const (
	maxCached     = 1 << 16
	maxCachedWord = 64
)

// spec is what the sources of tokenizers have in common.
type spec struct {
	tokens   []string
	added    []added
	merges   []string // "left right"
	ranks    []int32  // of the merges; nil for their order
	split    *splitter
	pieces   *pieces
	bos      int32
	eos      []int32
	whole    bool
	template string
}

func build(s spec) (*Tokenizer, error) {
	if len(s.tokens) == 0 {
		return nil, fmt.Errorf("tokenizer has no tokens: %w", ErrInvalid)
	}
	if len(s.merges) == 0 {
		return nil, fmt.Errorf("tokenizer has no merges; a byte-pair encoding needs them: %w", ErrInvalid)
	}
	t := &Tokenizer{BOS: s.bos, EOS: s.eos, tokens: s.tokens, special: make([]bool, len(s.tokens)), pairs: s.merges, split: s.split, pieces: s.pieces, whole: s.whole,
		template: s.template, ids: make(map[string]int32, len(s.tokens)), merges: make(map[[2]int32]merge, len(s.merges)),
		added: newAddedTokens(s.added), list: s.added, ranks: s.ranks, cache: map[string][]int32{}}
	for id, tok := range s.tokens {
		if _, twice := t.ids[tok]; !twice {
			t.ids[tok] = int32(id)
		}
	}
	for _, a := range s.added {
		t.special[a.id] = true
	}
	for b := range 256 {
		text := string(byteRune[b])
		if s.pieces != nil {
			text = byteToken(byte(b))
		}
		id, ok := t.ids[text]
		if !ok {
			id = -1
		}
		t.bytes[b] = id
	}
	var joined []byte
	for rank, m := range s.merges {
		l, r, ok := strings.Cut(m, " ")
		li, okL := t.ids[l]
		ri, okR := t.ids[r]
		joined = append(append(joined[:0], l...), r...)
		id, okM := t.ids[string(joined)]
		if !ok || !okL || !okR || !okM {
			return nil, fmt.Errorf("merge %d (%q) names tokens that the vocabulary lacks: %w", rank, m, ErrInvalid)
		}
		at := merge{int32(rank), id}
		if s.ranks != nil {
			at.rank = s.ranks[rank]
		}
		if _, twice := t.merges[[2]int32{li, ri}]; !twice {
			t.merges[[2]int32{li, ri}] = at
		}
	}
	for _, id := range append(slices.Clone(s.eos), s.bos) {
		if int(id) >= len(s.tokens) || id < -1 {
			return nil, fmt.Errorf("special token %d is outside the vocabulary of %d: %w", id, len(s.tokens), ErrInvalid)
		}
	}
	return t, nil
}

// byteRune maps bytes to the printable characters that stand for them in a byte-level vocabulary (GPT-2's table).
var byteRune, runeByte = func() (to [256]rune, from map[rune]byte) {
	from = map[rune]byte{}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		to[b], from[r] = r, byte(b)
	}
	return to, from
}()

// Vocab returns the number of tokens.
func (t *Tokenizer) Vocab() int { return len(t.tokens) }

// ID returns the id of a token by its text (for special tokens) or its byte-level form.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// IsEOS reports whether id ends a text or a turn.
func (t *Tokenizer) IsEOS(id int32) bool { return slices.Contains(t.EOS, id) }

// Encode returns the tokens of text. With special, special tokens written out in the text become those tokens;
// otherwise they are ordinary text, but for added tokens that their file does not mark as special. No token is added at
// the beginning or end.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	ids := make([]int32, 0, len(text)/3+1)
	t.added.cut(text, special, func(part string) { ids = t.encodeText(ids, part) }, func(id int32) { ids = append(ids, id) })
	return ids
}

func (t *Tokenizer) encodeText(ids []int32, text string) []int32 {
	if text == "" {
		return ids
	}
	emit := func(w string) { ids = t.word(ids, w) }
	if t.pieces != nil {
		t.pieces.words(text, len(ids) == 0, emit)
	} else {
		t.split.words(text, emit)
	}
	return ids
}

func (t *Tokenizer) word(ids []int32, w string) []int32 {
	t.mu.RLock()
	c, ok := t.cache[w]
	t.mu.RUnlock()
	if ok {
		return append(ids, c...)
	}
	start := len(ids)
	ids = t.bpe(ids, w)
	if len(w) <= maxCachedWord {
		t.mu.Lock()
		if len(t.cache) >= maxCached {
			clear(t.cache)
		}
		t.cache[strings.Clone(w)] = slices.Clone(ids[start:])
		t.mu.Unlock()
	}
	return ids
}

// Decode returns the text of ids, special tokens written out. Bytes that are no UTF-8 stay as they are, and so does a space
// that Encode put before the text.
func (t *Tokenizer) Decode(ids []int32) string {
	var b []byte
	for _, id := range ids {
		b = t.appendToken(b, id)
	}
	return string(b)
}

func (t *Tokenizer) appendToken(b []byte, id int32) []byte {
	if id < 0 || int(id) >= len(t.tokens) {
		return b
	}
	tok := t.tokens[id]
	if t.pieces != nil {
		return appendPiece(b, tok)
	}
	if t.special[id] {
		return append(b, tok...)
	}
	for _, r := range tok {
		if c, ok := runeByte[r]; ok {
			b = append(b, c)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

// Stream decodes tokens one by one and never returns half a character.
type Stream struct {
	t    *Tokenizer
	rest []byte
}

// Stream returns a decoder for one text.
func (t *Tokenizer) Stream() *Stream { return &Stream{t: t} }

// Next returns the text that id completes; "" while a character is still open.
func (s *Stream) Next(id int32) string {
	s.rest = s.t.appendToken(s.rest, id)
	n := len(s.rest)
	for i := 1; i <= min(utf8.UTFMax-1, n); i++ { // an open character has at most three bytes
		if c := s.rest[n-i]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(s.rest[n-i:]) {
				n -= i
			}
			break
		}
	}
	out := string(s.rest[:n])
	s.rest = append(s.rest[:0], s.rest[n:]...)
	return out
}

// Flush returns what is left at the end of a text, although it may be half a character.
func (s *Stream) Flush() string {
	out := string(s.rest)
	s.rest = nil
	return out
}

// Hash returns the SHA-256, in hexadecimal, of everything that decides what Encode returns.
func (t *Tokenizer) Hash() string {
	h := sha256.New()
	put := func(s string) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for i, tok := range t.tokens {
		put(tok)
		put(strconv.FormatBool(t.special[i]))
	}
	for _, m := range t.pairs {
		put(m)
	}
	if t.pieces != nil {
		put(t.pieces.String())
		put(fmt.Sprint(t.ranks))
	} else {
		put(t.split.String())
	}
	put(fmt.Sprint(t.BOS, t.EOS, t.whole))
	for _, a := range t.list {
		if a.plain || a.lstrip || a.rstrip {
			put(fmt.Sprint(a.id, a.plain, a.lstrip, a.rstrip))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
