package base_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

func open(t testing.TB, ref string) *base.Base {
	t.Helper()
	b, err := base.Open(ref, base.Options{Precision: kernels.F32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestWrite writes the built-in base as a directory, and that as GGUF files: they read text alike and compute the same.
func TestWrite(t *testing.T) {
	tmp := t.TempDir()
	first := open(t, base.Builtin)
	dir := filepath.Join(tmp, "dir")
	if err := first.WriteHF(dir, first.Model.Source(), "F32"); err != nil {
		t.Fatal(err)
	}
	if err := first.WriteHF(dir, first.Model.Source(), "F32"); !errors.Is(err, os.ErrExist) {
		t.Errorf("a directory is overwritten: %v", err)
	}
	bases := []*base.Base{first, open(t, dir)}
	again := filepath.Join(tmp, "again")
	if err := bases[1].WriteHF(again, bases[1].Model.Source(), "F32"); err != nil {
		t.Fatal(err)
	}
	bases = append(bases, open(t, again))
	for i, b := range bases[:2] {
		for _, typ := range []gguf.Type{gguf.F32, gguf.F16} {
			path := filepath.Join(tmp, []string{"file", "directory"}[i]+typ.String()+".gguf")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(b.WriteGGUF(f, b.Model.Source(), typ), f.Close()); err != nil {
				t.Fatal(err)
			}
			bases = append(bases, open(t, path))
		}
	}
	text := "<|endoftext|>Package bufio implements 1234 — Ünïcödé.\n\n\tfunc (b *Buffer) don't"
	want := first.Tokenizer.Encode(text, true)
	x := logits(t, first, want)
	for i, b := range bases[1:] {
		ids := b.Tokenizer.Encode(text, true)
		if !slices.Equal(ids, want) || b.Tokenizer.BOS != first.Tokenizer.BOS || !slices.Equal(b.Tokenizer.EOS, first.Tokenizer.EOS) || b.Tokenizer.Decode(ids) != text {
			t.Errorf("base %d reads %v, want %v", i, ids, want)
			continue
		}
		if y := logits(t, b, want); !slices.Equal(x, y) { // the built-in base is in F16 itself
			t.Errorf("base %d: logits %v…, want %v…", i, y[:4], x[:4])
		}
	}
}

func logits(t testing.TB, b *base.Base, ids []int32) []float32 {
	t.Helper()
	x, err := b.Model.Forward(llama.One(ids, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, len(ids)*b.Model.Config.Vocab)
	b.Model.Logits(y, x, len(ids))
	return y
}
