package base_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// TestLogitsHash: the hash is that of all rows' logits of all windows in order, as little-endian f32, and the first token
// of a window is not predicted.
func TestLogitsHash(t *testing.T) {
	b, err := base.Open(base.Builtin, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, 340)
	for i := range ids {
		ids[i] = int32(7 * i)
	}
	const window = 150 // more than the rows that are computed at a time
	r, err := b.Perplexity(context.Background(), ids, base.EvalOptions{SeqLen: window, HashLogits: true})
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for at := 0; at < len(ids); at += window {
		w := ids[at:min(at+window, len(ids))]
		x, err := b.Model.Forward(llama.One(w, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		logits := make([]float32, len(w)*b.Model.Config.Vocab)
		b.Model.Logits(logits, x, len(w))
		if err := binary.Write(&all, binary.LittleEndian, logits); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(all.Bytes())
	if want := hex.EncodeToString(sum[:]); r.LogitsSHA256 != want || r.Windows != 3 || r.Tokens != len(ids)-3 {
		t.Errorf("%+v, want logits %s and %d tokens in 3 windows", r, want, len(ids)-3)
	}
}
