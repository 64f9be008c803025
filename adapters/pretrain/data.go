package pretrain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/gopeft/peft/base/tokenizer"
)

// Text is documents as tokens, some of them held out, with the tokenizer that was trained on the others.
type Text struct {
	tok          *tokenizer.Tokenizer
	corpus, held []int32
	heldBytes    int
}

// NewText trains a tokenizer of vocab tokens on documents, of which one name in so many is held out, and reads them with
// it. progress may be nil.
func NewText(docs []Document, heldOutOf, vocab int, progress func(Progress)) (*Text, error) {
	var train, held []Document
	t := &Text{}
	for _, d := range docs {
		if HeldOut(d, heldOutOf) {
			held = append(held, d)
			t.heldBytes += len(d.Text)
		} else {
			train = append(train, d)
		}
	}
	if progress != nil {
		progress(Progress{Message: fmt.Sprintf("%d documents to train on, %d held out; training the tokenizer", len(train), len(held))})
	}
	texts := func(yield func(string) bool) {
		for _, d := range train {
			if !yield(d.Text) {
				return
			}
		}
	}
	var err error
	if t.tok, err = tokenizer.Train(texts, vocab, []string{EndOfText}, chatTemplate); err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	t.tok.BOS = 0
	if n := t.tok.Vocab(); n != vocab {
		return nil, fmt.Errorf("pretrain: the text yields a vocabulary of %d tokens, want %d: too little text", n, vocab)
	}
	t.corpus, t.held = tokenise(t.tok, train), tokenise(t.tok, held)
	return t, nil
}

// Tokens returns how many tokens there are to train on, and how many are held out.
func (t *Text) Tokens() (train, heldOut int) { return len(t.corpus), len(t.held) }

// HeldOut tells whether a document is never trained on: one in n, all of a name together.
func HeldOut(d Document, n int) bool {
	h := fnv.New64a()
	h.Write([]byte(d.Name))
	return n > 0 && h.Sum64()%uint64(n) == 0
}

// tokenise joins documents in their order, the token that ends a text before each and after the last. Special tokens
// written out in a document are ordinary text.
func tokenise(tok *tokenizer.Tokenizer, docs []Document) []int32 {
	var ids []int32
	for _, d := range docs {
		ids = append(ids, tok.BOS)
		ids = append(ids, tok.Encode(d.Text, false)...)
	}
	return append(ids, tok.BOS)
}

// hashTokens identifies a token stream.
func hashTokens(ids []int32) string {
	h := sha256.New()
	b := make([]byte, 0, 1<<16)
	for i, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
		if len(b) == cap(b) || i == len(ids)-1 {
			h.Write(b)
			b = b[:0]
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// windows deals out a token stream in windows of length+1 tokens: in each epoch all of them once, in a new order and
// from a new offset. What batch comes at a step depends on the seed alone.
type windows struct {
	ids    []int32
	length int
	seed   uint64
	count  int // windows of an epoch
	epoch  int
	order  []int
	offset int
}

func newWindows(ids []int32, length int, seed uint64) *windows {
	return &windows{ids: ids, length: length, seed: seed, count: (len(ids)-1)/length - 1, epoch: -1}
}

// batch appends n windows, those of step, to dst.
func (w *windows) batch(dst []int32, step, n int) []int32 {
	for k := step * n; k < (step+1)*n; k++ {
		if e := k / w.count; e != w.epoch {
			rng := rand.New(rand.NewPCG(w.seed, uint64(e)+2))
			w.epoch, w.offset, w.order = e, rng.IntN(w.length), rng.Perm(w.count)
		}
		at := w.offset + w.order[k%w.count]*w.length
		dst = append(dst, w.ids[at:at+w.length+1]...)
	}
	return dst
}
