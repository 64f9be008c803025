package tokenizer

import (
	"strings"
	"testing"
)

// BenchmarkEncode encodes prose with every splitter that GGUF files name, and a word of 100 kB.
func BenchmarkEncode(b *testing.B) {
	tok := trained(b)
	prose := strings.Repeat(sample, 1<<20/len(sample))
	for _, name := range []string{"smollm", "gpt-2", "llama-bpe", "qwen2"} {
		split, err := byName(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			own := &Tokenizer{tokens: tok.tokens, ids: tok.ids, merges: tok.merges, bytes: tok.bytes, split: split, added: tok.added, cache: map[string][]int32{}}
			b.SetBytes(int64(len(prose)))
			for b.Loop() {
				own.Encode(prose, true)
			}
		})
	}
	b.Run("long word", func(b *testing.B) {
		word := strings.Repeat("jumpsover", 100_000/9)
		b.SetBytes(int64(len(word)))
		for b.Loop() {
			tok.Encode(word, true)
		}
	})
}
