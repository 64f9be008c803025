package tokenizer

import (
	"slices"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// TestHuggingFaceParity compares with the ids that Hugging Face's package gave for the tokenizers that testdata/make.py
// trained with it, and checks that a GGUF file's name for a splitter means the same as its tokenizer.json.
func TestHuggingFaceParity(t *testing.T) {
	for _, name := range []string{"smollm", "gpt-2", "llama-bpe", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			f := references(t, name)
			tok, err := FromHF(f.Tokenizer, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range f.Reference {
				if got := tok.Encode(c.Text, true); !slices.Equal(got, c.IDs) {
					t.Errorf("%q: %v, want %v", c.Text, got, c.IDs)
				}
			}
			named, err := byName(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range f.Reference {
				text := c.Text
				if tok.split.nfc {
					text = norm.NFC.String(text)
				}
				if got, want := wordsOf(named, text), wordsOf(tok.split, text); !slices.Equal(got, want) {
					t.Errorf("%q: %q by name, %q by tokenizer.json", text, got, want)
				}
			}
		})
	}
}

func wordsOf(s *splitter, text string) []string {
	var words []string
	s.words(text, func(w string) { words = append(words, w) })
	return words
}

// TestInvalidUTF8 checks that bytes that are no text come back, and that one of them does not keep the text around it in
// one piece.
func TestInvalidUTF8(t *testing.T) {
	tok := trained(t)
	for _, name := range []string{"smollm", "gpt-2", "llama-bpe", "qwen2"} {
		var err error
		if tok.split, err = byName(name); err != nil {
			t.Fatal(err)
		}
		const text = "the dogs\xff jump \xe2\x82 over\xc3"
		if utf8.ValidString(text) {
			t.Fatal("the text is valid")
		}
		if got := tok.Decode(tok.Encode(text, true)); got != text {
			t.Errorf("%s: %q came back as %q", name, text, got)
		}
		if words := wordsOf(tok.split, text); len(words) < 4 {
			t.Errorf("%s: %q", name, words)
		}
	}
}

func TestAddedTokens(t *testing.T) {
	tok, err := Train(slices.Values([]string{sample}), 300, []string{"<|a|>", "<|a|>b", "<|u|>"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("<|a|>b<|a|><|a", true); !slices.Equal(got[:2], []int32{1, 0}) || tok.Decode(got) != "<|a|>b<|a|><|a" {
		t.Errorf("the longest token is not taken first: %v", got)
	}
	kv, err := tok.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]any{}
	for _, e := range kv {
		meta[e.Key] = e.Value
	}
	types := slices.Clone(meta["tokenizer.ggml.token_type"].([]int32))
	types[2] = typeUser
	meta["tokenizer.ggml.token_type"] = types
	if tok, err = FromGGUF(meta); err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("<|u|><|a|>", false); got[0] != 2 || slices.Contains(got, 0) {
		t.Errorf("without special tokens: %v; want the user's token alone", got)
	}
}
