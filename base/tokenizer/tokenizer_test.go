package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/gguf"

	"pgregory.net/rapid"
)

const sample = "The quick brown fox, doesn't it? It jumps over 12 lazy dogs; the dogs don't mind. naïve café 🙂\n\n\tend  of   it."

const chatML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"

func trained(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := Train(slices.Values([]string{strings.Repeat(sample, 3)}), 320, []string{"<|end|>"}, chatML)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func smollm(t testing.TB) *Tokenizer {
	t.Helper()
	f, err := gguf.Open(basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	tok, err := FromGGUF(f.Meta)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

type reference struct {
	Tokenize []struct {
		Text string
		IDs  []int32
	}
	Chat []struct {
		Messages []Message
		Text     string
	}
	Greedy []struct {
		NewIDs  []int32 `json:"new_ids"`
		NewText string  `json:"new_text"`
	}
}

func TestParity(t *testing.T) {
	tok := smollm(t)
	b, err := os.ReadFile(basetest.Shared(t, "fixtures/smollm2-135m.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Tokenize) == 0 || len(ref.Chat) == 0 || len(ref.Greedy) == 0 {
		t.Fatal("the reference has nothing to compare")
	}
	for _, c := range ref.Tokenize {
		if got := tok.Encode(c.Text, true); !slices.Equal(got, c.IDs) {
			t.Errorf("%q: %v, want %v", c.Text, got, c.IDs)
		}
		if got := tok.Decode(c.IDs); got != c.Text {
			t.Errorf("decoded %q, want %q", got, c.Text)
		}
	}
	for _, c := range ref.Chat {
		got, err := tok.ApplyChat(c.Messages, true)
		if err != nil || got != c.Text {
			t.Errorf("chat %q, want %q: %v", got, c.Text, err)
		}
	}
	for _, c := range ref.Greedy {
		if got := tok.Decode(c.NewIDs); got != c.NewText {
			t.Errorf("decoded %q, want %q", got, c.NewText)
		}
	}
	for file, want := range map[string]int{"data/wikitext2-valid.txt": 273868, "data/shakespeare.txt": 341094} {
		b, err := os.ReadFile(basetest.Shared(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(tok.Encode(string(b), false)); got != want {
			t.Errorf("%s has %d tokens, want %d", file, got, want)
		}
	}
}

func TestSplitGPT2(t *testing.T) {
	for in, want := range map[string][]string{
		"don't we'll":    {"don", "'t", " we", "'ll"},
		"a  b":           {"a", " ", " b"},
		"a\n\n b  ":      {"a", "\n\n", " b", "  "},
		" 12ab, x":       {" 12", "ab", ",", " x"},
		"\u00a0x":        {"\u00a0", "x"},
		"  ":             {"  "},
		" ":              {" "},
		"it's'":          {"it", "'s", "'"},
		"!?  \t…":        {"!?", "  ", "\t", "…"},
		"日本語 русский 🙂👩": {"日本語", " русский", " 🙂👩"},
	} {
		var got []string
		cutGPT2(in, func(w string) { got = append(got, w) })
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestRegexAgrees compares the splitter written out with the pattern it stands for.
func TestRegexAgrees(t *testing.T) {
	re, err := regexStep(`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.SampledFrom([]rune("ab'stl 1٣\n\t.,é日🙂\u00a0\u200b")), 1, 30, -1).Draw(t, "s")
		var got, want []string
		cutGPT2(s, func(w string) { got = append(got, w) })
		re.cut(s, func(w string) { want = append(want, w) })
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", s, got, want)
		}
	})
}

func TestRoundTrips(t *testing.T) {
	tok := trained(t)
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		ids := tok.Encode(s, false)
		if got := tok.Decode(ids); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
		st := tok.Stream()
		var out strings.Builder
		for _, id := range ids {
			p := st.Next(id)
			if !utf8.ValidString(p) {
				t.Fatalf("half a character: %q", p)
			}
			out.WriteString(p)
		}
		if out.WriteString(st.Flush()); out.String() != s {
			t.Fatalf("streamed %q as %q", s, out.String())
		}
	})
}

func TestTrainCompresses(t *testing.T) {
	tok := trained(t)
	if n := len(tok.Encode(sample, false)); n*2 > len(sample) {
		t.Errorf("%d tokens for %d bytes", n, len(sample))
	}
	if ids := tok.Encode("x<|end|>y", true); len(ids) != 3 || ids[1] != 0 || !tok.IsEOS(ids[1]) {
		t.Errorf("special token: %v", ids)
	}
	if ids := tok.Encode("<|end|>", false); slices.Contains(ids, 0) {
		t.Error("text became a special token unasked")
	}
	again := trained(t)
	if tok.Hash() != again.Hash() {
		t.Error("training is not deterministic")
	}
	kv, err := tok.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]any{}
	for _, e := range kv {
		meta[e.Key] = e.Value
	}
	back, err := FromGGUF(meta)
	if err != nil || back.Hash() != tok.Hash() {
		t.Errorf("through GGUF: %v", err)
	}
	text, err := back.ApplyChat([]Message{{"user", "hi"}}, true)
	if err != nil || text != "<|user|>hi\n<|assistant|>" {
		t.Errorf("chat %q, %v", text, err)
	}
}

func TestHuggingFace(t *testing.T) {
	file := `{"added_tokens":[{"id":4,"content":"<e>"}],"normalizer":null,
	"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},
	"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3},"merges":%s}}`
	for _, merges := range []string{`["a b"]`, `[["a","b"]]`} {
		tok, err := FromHF([]byte(strings.Replace(file, "%s", merges, 1)), []byte(`{"eos_token":{"content":"<e>"},"chat_template":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Encode("ab ba<e>", true); !slices.Equal(got, []int32{2, 3, 1, 0, 4}) || !tok.IsEOS(4) {
			t.Errorf("%v", got)
		}
	}
	for bad, want := range map[string]error{
		strings.Replace(file, "%s", `[]`, 1):                                                      ErrInvalid,
		strings.Replace(file, "%s", `["a c"]`, 1):                                                 ErrInvalid,
		strings.Replace(file, "%s", `[3]`, 1):                                                     ErrInvalid,
		strings.Replace(strings.Replace(file, "%s", `["a b"]`, 1), `"id":4`, `"id":400000000`, 1): ErrInvalid,
		strings.Replace(strings.Replace(file, "%s", `["a b"]`, 1), `BPE`, `Unigram`, 1):           ErrUnsupported,
		strings.Replace(strings.Replace(file, "%s", `["a b"]`, 1), `"Digits"`, `"Metaspace"`, 1):  ErrUnsupported,
		`{`: ErrInvalid,
	} {
		if _, err := FromHF([]byte(bad), nil); !errors.Is(err, want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTemplateCannotReadFiles(t *testing.T) {
	tok := trained(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hidden"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tpl := range []string{"{% include '" + secret + "' %}", "{{ raise_exception('no') }}", "{% for %}"} {
		tok.template = tpl
		if text, err := tok.ApplyChat(nil, false); err == nil || strings.Contains(text, "hidden") {
			t.Errorf("%s gave %q, %v", tpl, text, err)
		}
	}
}

func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(`{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`))
	f.Add([]byte(`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁"},"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2,"▁":3},"merges":["a b"]}}`))
	f.Add([]byte(`{"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"model":{"type":"BPE","byte_fallback":true,"unk_token":"a","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := FromHF(b, nil)
		if err == nil {
			tok.Decode(tok.Encode("some text a b ab 12", true))
		}
	})
}
