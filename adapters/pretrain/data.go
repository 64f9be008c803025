package pretrain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math/rand/v2"

	"github.com/gopeft/peft/base/tokenizer"
)

// heldOut tells whether a document is never trained on: one in n, all of a name together.
func heldOut(d Document, n int) bool {
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
