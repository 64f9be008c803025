// Package gguftest makes GGUF files for tests.
package gguftest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/gguf"
)

// Part is one of a split model's files before it is written.
type Part struct {
	Meta    []gguf.KV
	Tensors []gguf.Tensor
}

// Split takes a file, whose tensors are F32, F16, BF16 or Q8_0, apart into n parts as llama.cpp does: each with about as many
// tensors, all metadata in the first.
func Split(t testing.TB, file []byte, n int) []Part {
	t.Helper()
	f, err := gguf.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	all := f.Tensors()
	parts := make([]Part, n)
	for _, k := range slices.Sorted(maps.Keys(f.Meta)) {
		parts[0].Meta = append(parts[0].Meta, gguf.KV{Key: k, Value: f.Meta[k]})
	}
	for i := range parts {
		p := &parts[i]
		p.Meta = append(p.Meta, gguf.KV{Key: "split.no", Value: uint16(i)}, gguf.KV{Key: "split.count", Value: uint16(n)}, gguf.KV{Key: "split.tensors.count", Value: int32(len(all))})
		for _, info := range all[i*len(all)/n : (i+1)*len(all)/n] {
			v, shape, err := f.Tensor(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			p.Tensors = append(p.Tensors, gguf.Tensor{Name: info.Name, Shape: shape, Type: info.Type, Data: v})
		}
	}
	return parts
}

// Bytes returns the part's file.
func (p *Part) Bytes(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := gguf.Write(&b, p.Meta, p.Tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// PartName is the name of the i-th of n files of a model, from 0.
func PartName(model string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", model, i+1, n)
}

// Write writes the parts of a model into a directory and returns the files.
func Write(t testing.TB, dir, model string, parts []Part) []string {
	t.Helper()
	files := make([]string, len(parts))
	for i := range parts {
		files[i] = filepath.Join(dir, PartName(model, i, len(parts)))
		if err := os.WriteFile(files[i], parts[i].Bytes(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
