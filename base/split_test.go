package base_test

import (
	"os"
	"slices"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/builtin"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/gguf/gguftest"
)

// TestSplitGGUF: the built-in base in three files is the same base, to the bit, whichever of them is opened; what is written of
// it is one file.
func TestSplitGGUF(t *testing.T) {
	file, err := builtin.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	first := open(t, base.Builtin)
	print, err := first.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	ids := first.Tokenizer.Encode("Package bufio implements buffered I/O.", true)
	want := logits(t, first, ids)
	dir := t.TempDir()
	parts := gguftest.Split(t, file, 3)
	for _, path := range gguftest.Write(t, dir, "tiny.F16", parts) {
		b := open(t, path)
		if p, err := b.Fingerprint(); err != nil || p != print || b.Name != "tiny.F16" {
			t.Errorf("%s: %s with fingerprint %s, want %s: %v", path, b.Name, p, print, err)
		}
		if !slices.Equal(logits(t, b, b.Tokenizer.Encode("Package bufio implements buffered I/O.", true)), want) {
			t.Errorf("%s: other logits", path)
		}
		out, err := os.CreateTemp(dir, "one-*.gguf")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.WriteGGUF(out, b.Model.Source(), gguf.F16); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(logits(t, open(t, out.Name()), ids), want) {
			t.Errorf("%s written as one file: other logits", path)
		}
	}
}
