package llamatest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
)

// GPT2 writes a GPT-2 of random weights with a tokenizer of so many tokens, and returns its configuration and its GGUF file.
func GPT2(t testing.TB, tok *tokenizer.Tokenizer, vocab, hidden, ffn int) (*llama.Config, string) {
	t.Helper()
	c := Families()["gpt2"]
	c.Vocab, c.Hidden, c.HeadDim, c.FFN, c.MaxSeq = vocab, hidden, hidden/c.Heads, ffn, 512
	meta, err := c.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	words, err := tok.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range words {
		meta = append(meta, gguf.KV{Key: e.Key, Value: e.Value})
	}
	path := filepath.Join(t.TempDir(), "gpt2.gguf")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(llama.WriteGGUF(f, &c, Random(c, 1), meta, gguf.F32), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &c, path
}
