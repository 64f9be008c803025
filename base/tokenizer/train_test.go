package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTrainByHand follows the algorithm on a text small enough to count.
func TestTrainByHand(t *testing.T) {
	// a a occurs 8 times and a b 4; then aa a and a b occur 4 times each, and a b has the lower ids; then aa ab
	texts := []string{"aaab", ",", "aaab", ",", "aaab", ",", "aaab"}
	tok, err := Train(slices.Values(texts), 260, []string{"<|end|>"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a a", "a b", "aa ab"}; !slices.Equal(tok.pairs, want) {
		t.Errorf("merges %q, want %q", tok.pairs, want)
	}
	if got := tok.Encode("aaab", false); len(got) != 1 || got[0] != 259 {
		t.Errorf("%v", got)
	}
}

// TestTrainMatchesRecount compares the incremental counts with counting afresh before every merge.
func TestTrainMatchesRecount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("aabc d")), 20, 120, -1).Draw(t, "text")
		tok, err := Train(slices.Values([]string{text}), 275, []string{"<|end|>"}, "")
		if errors.Is(err, ErrInvalid) && len(recount(smollmSplit, text, 275)) == 0 {
			return // nothing to merge
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := recount(smollmSplit, text, 275); !slices.Equal(tok.pairs, want) {
			t.Fatalf("merges %q, want %q", tok.pairs, want)
		}
		seen := map[string]bool{}
		for _, tok := range tok.tokens {
			if seen[tok] {
				t.Fatalf("token %q is there twice", tok)
			}
			seen[tok] = true
		}
	})
}

var smollmSplit = &splitter{steps: []step{digitsStep, gpt2Step}}

// recount is training as the paper writes it down.
func recount(split *splitter, text string, vocab int) []string {
	ids := map[string]int{"<|end|>": 0}
	for b := range 256 {
		ids[string(byteRune[b])] = b + 1
	}
	var words [][]string
	for _, w := range wordsOf(split, text) {
		var syms []string
		for i := range len(w) {
			syms = append(syms, string(byteRune[w[i]]))
		}
		words = append(words, syms)
	}
	var merges []string
	for len(ids) < vocab {
		counts := map[[2]string]int{}
		for _, w := range words {
			for i := range len(w) - 1 {
				counts[[2]string{w[i], w[i+1]}]++
			}
		}
		var best [2]string
		n := 1
		for p, c := range counts {
			less := ids[p[0]] < ids[best[0]] || ids[p[0]] == ids[best[0]] && ids[p[1]] < ids[best[1]]
			if c > n || c == n && n > 1 && less {
				best, n = p, c
			}
		}
		if n == 1 {
			break
		}
		if m := best[0] + " " + best[1]; !slices.Contains(merges, m) {
			merges = append(merges, m)
		}
		if _, ok := ids[best[0]+best[1]]; !ok {
			ids[best[0]+best[1]] = len(ids)
		}
		for k, w := range words {
			var out []string
			for i := 0; i < len(w); i++ {
				if i+1 < len(w) && w[i] == best[0] && w[i+1] == best[1] {
					out = append(out, w[i]+w[i+1])
					i++
					continue
				}
				out = append(out, w[i])
			}
			words[k] = out
		}
	}
	return merges
}

func TestTrainRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		vocab    int
		specials []string
	}{
		"no special token":  {sample, 300, nil},
		"vocabulary":        {sample, 257, []string{"<|end|>"}},
		"special twice":     {sample, 300, []string{"<|end|>", "<|end|>"}},
		"special is a byte": {sample, 300, []string{"a"}},
		"no text":           {"", 300, []string{"<|end|>"}},
	} {
		if _, err := Train(slices.Values([]string{c.text}), c.vocab, c.specials, ""); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tok, err := Train(slices.Values([]string{strings.Repeat("abc ", 9)}), 300, []string{"abc"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode("abc", false); slices.Contains(got, 0) {
		t.Error("text became a special token through merges")
	}
}

func TestGGUFRefuses(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"no merges":         func(m map[string]any) { delete(m, "tokenizer.ggml.merges") },
		"merges of numbers": func(m map[string]any) { m["tokenizer.ggml.merges"] = []int32{1} },
		"unknown merge":     func(m map[string]any) { m["tokenizer.ggml.merges"] = []string{"zz yy"} },
		"merge of one":      func(m map[string]any) { m["tokenizer.ggml.merges"] = []string{"a"} },
		"no tokens":         func(m map[string]any) { delete(m, "tokenizer.ggml.tokens") },
		"types":             func(m map[string]any) { m["tokenizer.ggml.token_type"] = []int32{1} },
		"bos outside":       func(m map[string]any) { m["tokenizer.ggml.bos_token_id"] = uint32(1 << 31) },
		"eos outside":       func(m map[string]any) { m["tokenizer.ggml.eos_token_id"] = uint32(1<<32 - 1) },
		"eot is text":       func(m map[string]any) { m["tokenizer.ggml.eot_token_id"] = "end" },
		"splitter":          func(m map[string]any) { m["tokenizer.ggml.pre"] = "tekken" },
		"model":             func(m map[string]any) { m["tokenizer.ggml.model"] = "llama" },
	} {
		kv, err := trained(t).GGUF()
		if err != nil {
			t.Fatal(err)
		}
		meta := map[string]any{}
		for _, e := range kv {
			meta[e.Key] = e.Value
		}
		change(meta)
		if _, err := FromGGUF(meta); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHuggingFaceRefuses(t *testing.T) {
	const good = `{"added_tokens":[],"decoder":{"type":"ByteLevel"},"pre_tokenizer":%s,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]%s}}`
	const bytes = `{"type":"ByteLevel"}`
	if _, err := FromHF(fmt.Appendf(nil, good, bytes, ""), nil); err != nil {
		t.Fatal(err)
	}
	many := strings.Repeat(`{"type":"Digits"},`, 100)
	for name, file := range map[string]string{
		"no byte level":    fmt.Sprintf(good, `{"type":"Digits"}`, ""),
		"after byte level": fmt.Sprintf(good, `{"type":"Sequence","pretokenizers":[`+bytes+`,{"type":"Digits"}]}`, ""),
		"many":             fmt.Sprintf(good, `{"type":"Sequence","pretokenizers":[`+many+bytes+`]}`, ""),
		"bad pattern":      fmt.Sprintf(good, `{"type":"Split","behavior":"Isolated","pattern":{"Regex":"("}}`, ""),
		"byte fallback":    fmt.Sprintf(good, bytes, `,"byte_fallback":true`),
		"dropout":          fmt.Sprintf(good, bytes, `,"dropout":0.1`),
		"suffix":           fmt.Sprintf(good, bytes, `,"end_of_word_suffix":"</w>"`),
		"decoder":          strings.Replace(fmt.Sprintf(good, bytes, ""), `"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"WordPiece"}`, 1),
		"single word":      strings.Replace(fmt.Sprintf(good, bytes, ""), `"added_tokens":[]`, `"added_tokens":[{"id":3,"content":"x","single_word":true}]`, 1),
		"negative id":      strings.Replace(fmt.Sprintf(good, bytes, ""), `"ab":2`, `"ab":-2`, 1),
		"same id":          strings.Replace(fmt.Sprintf(good, bytes, ""), `"ab":2`, `"ab":1`, 1),
		"three parts":      strings.Replace(fmt.Sprintf(good, bytes, ""), `["a b"]`, `["a b ab"]`, 1),
		"deep":             strings.Repeat(`{"pre_tokenizer":`, 20000),
	} {
		if _, err := FromHF([]byte(file), nil); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("The quick brown fox\xff 12 <|end|>")
	tok := trained(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, special := range []bool{false, true} {
			ids := tok.Encode(text, special)
			if got := tok.Decode(ids); got != text {
				t.Errorf("%q came back as %q", text, got)
			}
			s := tok.Stream()
			var out strings.Builder
			for _, id := range ids {
				out.WriteString(s.Next(id))
			}
			if out.WriteString(s.Flush()); out.String() != text {
				t.Errorf("%q streamed as %q", text, out.String())
			}
		}
	})
}
