package builtin_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/builtin"
)

// text is of the model's domain but not of its corpus.
const text = `Close closes the connection. Any blocked Read or Write operations will be unblocked and return errors.
If the file does not exist, Open returns an error. The caller must call Close when the buffer is no longer needed.
It is safe to call this method from multiple goroutines at the same time. The default value is zero, which means no limit.
func (r *Reader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for i := 0; i < len(p); i++ {
		p[i] = 0
	}
	return len(p), nil
}`

// TestModel checks the size that the file promises and that it knows its domain: good text must surprise it far less
// than the same words in disorder, and less than a number that no untrained model reaches.
func TestModel(t *testing.T) {
	data, err := builtin.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 8<<20 {
		t.Errorf("file of %d bytes, want at most 8 MiB", len(data))
	}
	b, err := base.Open(base.Builtin, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	perplexity := func(s string) float64 {
		r, err := b.Perplexity(t.Context(), b.Tokenizer.Encode("<|endoftext|>"+s, true), base.EvalOptions{SeqLen: 256})
		if err != nil {
			t.Fatal(err)
		}
		return r.Perplexity
	}
	words := strings.Fields(text)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	good, bad := perplexity(text), perplexity(strings.Join(words, " "))
	if good > 30 || bad < 4*good {
		t.Errorf("perplexity %.1f, with shuffled words %.1f; want at most 30 and at least four times as much", good, bad)
	}
}
