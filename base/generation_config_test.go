package base

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestEndTokens(t *testing.T) {
	for _, c := range []struct {
		content string
		want    []int32
		bad     bool
	}{
		{`{"eos_token_id": 2}`, []int32{2}, false},
		{`{"eos_token_id": [2, 7]}`, []int32{2, 7}, false},
		{`{"eos_token_id": null}`, nil, false},
		{`{"bos_token_id": 1}`, nil, false},
		{`{"eos_token_id": "the end"}`, nil, true},
		{`{"eos_token_id": [2, "end"]}`, nil, true},
		{`{`, nil, true},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := endTokens(dir)
		if !slices.Equal(got, c.want) || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", c.content, got, err)
		}
	}
	if got, err := endTokens(t.TempDir()); got != nil || err != nil {
		t.Error(got, err)
	}
}

func TestEndAt(t *testing.T) {
	b, err := Open(Builtin, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	tok, last := b.Tokenizer, int32(b.Tokenizer.Vocab()-1)
	had := len(tok.EOS)
	if err := endAt(tok, []int32{tok.EOS[0], last}); err != nil || !tok.IsEOS(last) || len(tok.EOS) != had+1 {
		t.Error(tok.EOS, err)
	}
	if endAt(tok, []int32{last + 1}) == nil || endAt(tok, []int32{-1}) == nil {
		t.Error("a token that is not there passes")
	}
}
