package exchange

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
)

// TestFamilies: an adapter of a base of any family comes back from GGUF and from a directory of PEFT's, and rows stand in
// llama.cpp's order only in Llama's files. GPT-2's layers are others and are refused.
func TestFamilies(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) {
			a, dir := everywhere(&c, "lora"), filepath.Join(t.TempDir(), "adapter")
			var b bytes.Buffer
			err := WriteGGUF(&b, a, &c, gguf.F32)
			if c.Family == llama.GPT2 {
				_, read := ReadPEFT("testdata/lora-list", &c)
				for _, err := range []error{err, WritePEFT(dir, a, &c), read} {
					if !errors.Is(err, ErrUnsupported) {
						t.Error(err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f, err := gguf.Parse(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if arch, err := gguf.Get[string](f, "general.architecture"); err != nil || arch != c.Family.String() {
				t.Errorf("architecture %q: %v", arch, err)
			}
			if x, _, err := f.Tensor("blk.0.attn_q.weight.lora_b"); err != nil || slices.Equal(x, a.Modules[0].LoRA.B) != (c.Family != llama.Llama) {
				t.Errorf("rows of queries are in llama.cpp's order: %v, %v", x[:6], err)
			}
			read, err := fromGGUF(f, &c)
			if err != nil || !reflect.DeepEqual(read, a) {
				t.Errorf("another adapter from GGUF: %v", err)
			}
			if err := WritePEFT(dir, a, &c); err != nil {
				t.Fatal(err)
			}
			if read, err = ReadPEFT(dir, &c); err != nil || !reflect.DeepEqual(read.Modules, a.Modules) {
				t.Errorf("another adapter from PEFT: %v", err)
			}
		})
	}
}
