package exchange

import (
	"bytes"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
)

// TestFamilies: an adapter of a base of any family comes back from GGUF and from a directory of PEFT's, and rows stand in
// llama.cpp's order only in Llama's files. Of GPT-2 queries, keys and values have one A here; see TestFused for others.
func TestFamilies(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) {
			a, dir := everywhere(&c, "lora"), filepath.Join(t.TempDir(), "adapter")
			query := "blk.0.attn_q.weight.lora_b"
			if c.Family == llama.GPT2 {
				query = "blk.0.attn_qkv.weight.lora_b"
				shareA(a)
			}
			var b bytes.Buffer
			err := WriteGGUF(&b, a, &c, gguf.F32)
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
			if x, _, err := f.Tensor(query); err != nil || slices.Equal(x[:len(a.Modules[0].LoRA.B)], a.Modules[0].LoRA.B) != (c.Family != llama.Llama) {
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
