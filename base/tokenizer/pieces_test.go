package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// referenceFile is what testdata/make.py writes.
type referenceFile struct {
	Tokenizer json.RawMessage
	Reference []struct {
		Text string
		IDs  []int32
	}
}

func references(t testing.TB, name string) (f referenceFile) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || len(f.Reference) < 60 {
		t.Fatalf("%d references: %v", len(f.Reference), err)
	}
	return f
}

// scoredMeta returns a tokenizer.json in SentencePiece's manner as llama.cpp has it in GGUF: the sooner a token was learned,
// the higher its score.
func scoredMeta(t testing.TB, f referenceFile, space bool) map[string]any {
	t.Helper()
	var hf hfFile
	if err := json.Unmarshal(f.Tokenizer, &hf); err != nil {
		t.Fatal(err)
	}
	n := len(hf.Model.Vocab)
	tokens, scores, types := make([]string, n), make([]float32, n), make([]int32, n)
	for tok, id := range hf.Model.Vocab {
		tokens[id], scores[id], types[id] = tok, -float32(id), typeNormal
		if _, ok := byteOf(tok); ok {
			types[id] = 6
		}
	}
	types[0], types[1] = 2, typeControl
	return map[string]any{"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": types,
		"tokenizer.ggml.unknown_token_id": uint32(0), "tokenizer.ggml.add_space_prefix": space}
}

// TestPieces compares with the ids that Hugging Face's package gave, from a tokenizer.json and from the scores that a GGUF
// file has instead of merges.
func TestPieces(t *testing.T) {
	for name, inGGUF := range map[string]bool{"llama-2": true, "gemma": true, "mistral": false, "metaspace": false} {
		t.Run(name, func(t *testing.T) {
			f := references(t, name)
			tok, err := FromHF(f.Tokenizer, nil)
			if err != nil {
				t.Fatal(err)
			}
			all := []*Tokenizer{tok}
			if inGGUF {
				scored, err := FromGGUF(scoredMeta(t, f, name == "llama-2"))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, scored)
			}
			for i, tok := range all {
				for _, c := range f.Reference {
					got := tok.Encode(c.Text, true)
					if !slices.Equal(got, c.IDs) {
						t.Errorf("tokenizer %d, %q: %v, want %v", i, c.Text, got, c.IDs)
					}
				}
			}
			if _, err := tok.GGUF(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("GGUF: %v", err)
			}
			if _, _, err := tok.HF(); !errors.Is(err, ErrUnsupported) {
				t.Errorf("HF: %v", err)
			}
		})
	}
}

// TestPiecesComeBack: a text is in its tokens, behind the space that Encode put there; half characters wait.
func TestPiecesComeBack(t *testing.T) {
	for name, before := range map[string]string{"llama-2": " ", "gemma": ""} {
		tok, err := FromHF(references(t, name).Tokenizer, nil)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			text := rapid.StringN(1, 40, -1).Draw(rt, "text")
			if strings.Contains(text, mark) {
				return
			}
			ids := tok.Encode(text, false)
			if got := tok.Decode(ids); got != before+text {
				rt.Fatalf("%q came back as %q", text, got)
			}
			var streamed strings.Builder
			s := tok.Stream()
			for _, id := range ids {
				part := s.Next(id)
				if strings.ContainsRune(part, '\uFFFD') && !strings.ContainsRune(text, '\uFFFD') {
					rt.Fatalf("half a character in %q", part)
				}
				streamed.WriteString(part)
			}
			if streamed.WriteString(s.Flush()); streamed.String() != before+text {
				rt.Fatalf("%q streams as %q", text, streamed.String())
			}
		})
	}
}

// TestUnknownPieces: where bytes have no tokens, one token stands for all unknown characters side by side, or for each.
func TestUnknownPieces(t *testing.T) {
	file := func(fuse, unk string) []byte {
		return []byte(`{"model":{"type":"BPE","byte_fallback":true,"fuse_unk":` + fuse + `,"unk_token":` + unk + `,"vocab":{"<unk>":0,"a":1,"b":2,"ab":3,"▁":4},"merges":["a b"]},
			"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"}}`)
	}
	for _, c := range []struct {
		fuse, unk string
		want      []int32
	}{{"true", `"<unk>"`, []int32{3, 0, 4, 0, 1}}, {"false", `"<unk>"`, []int32{3, 0, 0, 4, 0, 1}}, {"false", "null", []int32{3, 4, 1}}} {
		tok, err := FromHF(file(c.fuse, c.unk), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Encode("abxy za", false); !slices.Equal(got, c.want) {
			t.Errorf("fuse_unk %s, unk_token %s: %v, want %v", c.fuse, c.unk, got, c.want)
		}
	}
}

func TestPiecesRefused(t *testing.T) {
	const vocab = `"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}`
	for _, parts := range []string{
		``,
		`,"normalizer":{"type":"NFKC"}`,
		`,"normalizer":{"type":"Replace","pattern":{"String":"x"},"content":"▁"}`,
		`,"pre_tokenizer":{"type":"ByteLevel"}`,
		`,"pre_tokenizer":{"type":"Metaspace","replacement":"_"}`,
		`,"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"last"}`,
		`,"pre_tokenizer":{"type":"Metaspace","replacement":"▁"},"decoder":{"type":"WordPiece"}`,
	} {
		if _, err := FromHF([]byte("{"+vocab+parts+"}"), nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", parts, err)
		}
	}
	f := references(t, "llama-2")
	for key, v := range map[string]any{
		"tokenizer.ggml.scores": []float32{1}, "tokenizer.ggml.unknown_token_id": uint32(1 << 20), "tokenizer.ggml.token_type": []int32{1},
	} {
		meta := scoredMeta(t, f, true)
		meta[key] = v
		if _, err := FromGGUF(meta); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
