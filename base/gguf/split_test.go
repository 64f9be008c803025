package gguf_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/gguf/gguftest"
)

// whole is a file of five tensors.
func whole(t testing.TB) []byte {
	t.Helper()
	p := gguftest.Part{Meta: []gguf.KV{{Key: "general.architecture", Value: "llama"}, {Key: "list", Value: []string{"a", "b"}}}}
	for i, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q8_0, gguf.F32} {
		x := make([]float32, 64)
		for j := range x {
			x[j] = float32(i*j) / 8
		}
		p.Tensors = append(p.Tensors, gguf.Tensor{Name: string(rune('a' + i)), Shape: []int{2, 32}, Type: typ, Data: x})
	}
	return p.Bytes(t)
}

// TestSplit: any part opens all of them, as the file that they were made of.
func TestSplit(t *testing.T) {
	file := whole(t)
	want, err := gguf.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 7; n++ { // of more than five parts some have no tensors
		for _, path := range gguftest.Write(t, t.TempDir(), "a.b-00001-of-00002", gguftest.Split(t, file, n)) {
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.Meta, want.Meta) || len(f.Tensors()) != len(want.Tensors()) {
				t.Errorf("%s: %v with %d tensors, want %v with %d", path, f.Meta, len(f.Tensors()), want.Meta, len(want.Tensors()))
			}
			for i, info := range want.Tensors() {
				f.Forget()
				a, errA := f.Raw(info.Name)
				b, errB := want.Raw(info.Name)
				if got := f.Tensors()[i]; errors.Join(errA, errB) != nil || !bytes.Equal(a, b) || got.Name != info.Name || got.Type != info.Type || !reflect.DeepEqual(got.Shape, info.Shape) {
					t.Errorf("%s: tensor %+v, want %+v: %v, %v", path, got, info, errA, errB)
				}
			}
			if gguf.Name(path) != "a.b-00001-of-00002" {
				t.Errorf("%s is called %s", path, gguf.Name(path))
			}
			if err := errors.Join(f.Close(), f.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	if n := gguf.Name(filepath.Join("d", "m.Q4_1.gguf")); n != "m.Q4_1" {
		t.Error(n)
	}
}

// set gives a part's key another value, nil for none.
func set(p *gguftest.Part, key string, value any) {
	var meta []gguf.KV
	for _, kv := range p.Meta {
		if kv.Key != key {
			meta = append(meta, kv)
		}
	}
	if value != nil {
		meta = append(meta, gguf.KV{Key: key, Value: value})
	}
	p.Meta = meta
}

// TestSplitErrors: what does not belong together is refused, whichever part is named, and the error names what is wrong.
func TestSplitErrors(t *testing.T) {
	move := func(from, to int) func(t *testing.T, files []string) {
		return func(t *testing.T, files []string) {
			if err := os.Rename(files[from], filepath.Join(filepath.Dir(files[from]), gguftest.PartName("m", to, 3))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		parts func(p []gguftest.Part)
		files func(t *testing.T, files []string)
		open  int // the part that is named
		is    error
		words []string
	}{
		"missing":          {files: func(t *testing.T, f []string) { remove(t, f[1]) }, is: os.ErrNotExist, words: []string{"3 parts 1 are not", "m-00002-of-00003.gguf"}},
		"first missing":    {files: func(t *testing.T, f []string) { remove(t, f[0]) }, open: 2, is: os.ErrNotExist, words: []string{"m-00001-of-00003.gguf"}},
		"count":            {parts: func(p []gguftest.Part) { set(&p[0], "split.count", uint16(4)) }, is: gguf.ErrCorrupt, words: []string{"part 1 of 4", "NAME-00001-of-00004.gguf"}},
		"other count":      {parts: func(p []gguftest.Part) { set(&p[1], "split.count", uint16(2)) }, is: gguf.ErrCorrupt, words: []string{"m-00002-of-00003.gguf", "split.count is 2, want 3"}},
		"huge count":       {parts: func(p []gguftest.Part) { set(&p[0], "split.count", uint32(1<<31-1)) }, is: gguf.ErrCorrupt, words: []string{"2147483647"}},
		"negative count":   {parts: func(p []gguftest.Part) { set(&p[0], "split.count", int32(-3)) }, is: gguf.ErrCorrupt, words: []string{"split.count"}},
		"no number":        {parts: func(p []gguftest.Part) { set(&p[0], "split.no", "one") }, is: gguf.ErrCorrupt, words: []string{"split.no", "string"}},
		"number past":      {parts: func(p []gguftest.Part) { set(&p[2], "split.no", uint16(3)) }, open: 2, is: gguf.ErrCorrupt, words: []string{"split.no is 3 of 3"}},
		"no tensors count": {parts: func(p []gguftest.Part) { set(&p[1], "split.tensors.count", nil) }, is: gguf.ErrNotFound, words: []string{"part 2 of 3", "split.tensors.count"}},
		"tensors count": {parts: func(p []gguftest.Part) {
			for i := range p {
				set(&p[i], "split.tensors.count", int32(6))
			}
		}, is: gguf.ErrCorrupt, words: []string{"have 5 tensors", "is 6"}},
		"other tensors count": {parts: func(p []gguftest.Part) { set(&p[2], "split.tensors.count", int32(9)) }, is: gguf.ErrCorrupt, words: []string{"m-00003-of-00003.gguf", "is 9, want 5", "another model"}},
		"tensor twice":        {parts: func(p []gguftest.Part) { p[1].Tensors[0].Name = "a" }, is: gguf.ErrCorrupt, words: []string{`tensor "a" is in m-00001-of-00003.gguf too`}},
		"other model":         {parts: func(p []gguftest.Part) { set(&p[1], "general.architecture", "gemma2") }, is: gguf.ErrCorrupt, words: []string{"general.architecture is gemma2, and llama in the first", "different models"}},
		"no part":             {parts: func(p []gguftest.Part) { p[2].Meta = nil }, is: gguf.ErrNotFound, words: []string{"m-00003-of-00003.gguf", "split.no"}},
		"two exchanged": {files: func(t *testing.T, f []string) {
			move(1, 3)(t, f)
			move(2, 1)(t, f)
			rename(t, filepath.Join(filepath.Dir(f[0]), gguftest.PartName("m", 3, 3)), f[2])
		}, is: gguf.ErrCorrupt, words: []string{"split.no is 2, want 1", "renamed"}},
		"renamed": {files: func(t *testing.T, f []string) { rename(t, f[1], f[0]) }, is: gguf.ErrCorrupt, words: []string{"part 2 of 3", "renamed"}},
		"damaged": {files: func(t *testing.T, f []string) {
			if err := os.Truncate(f[1], 200); err != nil {
				t.Fatal(err)
			}
		}, is: gguf.ErrCorrupt, words: []string{"m-00002-of-00003.gguf", "truncated"}},
		"damaged before": {files: func(t *testing.T, f []string) {
			if err := os.Truncate(f[0], 9); err != nil {
				t.Fatal(err)
			}
		}, open: 2, is: gguf.ErrCorrupt, words: []string{"m-00001-of-00003.gguf"}},
	} {
		t.Run(name, func(t *testing.T) {
			parts := gguftest.Split(t, whole(t), 3)
			if c.parts != nil {
				c.parts(parts)
			}
			files := gguftest.Write(t, t.TempDir(), "m", parts)
			if c.files != nil {
				c.files(t, files)
			}
			f, err := gguf.Open(files[c.open])
			if !errors.Is(err, c.is) || f != nil {
				t.Fatalf("%v, want %v", err, c.is)
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v, want %q in it", err, w)
				}
			}
		})
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// FuzzOpenParts opens two files as the parts of one model: all that it says is there can be read.
func FuzzOpenParts(f *testing.F) {
	parts := gguftest.Split(f, whole(f), 2)
	f.Add(parts[0].Bytes(f), parts[1].Bytes(f), true)
	f.Add(parts[1].Bytes(f), parts[0].Bytes(f), false)
	set(&parts[1], "split.count", int64(-1))
	f.Add(parts[0].Bytes(f), parts[1].Bytes(f), false)
	f.Fuzz(func(t *testing.T, a, b []byte, first bool) {
		dir := t.TempDir()
		files := []string{filepath.Join(dir, gguftest.PartName("m", 0, 2)), filepath.Join(dir, gguftest.PartName("m", 1, 2))}
		for i, content := range [][]byte{a, b} {
			if err := os.WriteFile(files[i], content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := files[1]
		if first {
			path = files[0]
		}
		g, err := gguf.Open(path)
		if err != nil {
			if !errors.Is(err, gguf.ErrCorrupt) && !errors.Is(err, gguf.ErrUnsupported) && !errors.Is(err, gguf.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			return
		}
		for _, info := range g.Tensors() {
			v, _, err := g.Tensor(info.Name)
			if err != nil || len(v) != info.Elements() {
				t.Fatal(info, len(v), err)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
