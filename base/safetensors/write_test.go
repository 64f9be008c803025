package safetensors

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestWrite compares with the bytes of a file that Hugging Face's own package wrote (testdata/make.py).
func TestWrite(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "mixed.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	values := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i-n/2) / 7
		}
		return x
	}
	loaded := false
	var b bytes.Buffer
	if err := Write(&b, []Tensor{
		{Name: "scalar", Data: []float32{2.5}},
		{Name: "half", DType: "F16", Shape: []int{3, 5500}, Data: values(16500)},
		{Name: "b.weight", Shape: []int{2, 3}, Data: values(6)},
		{Name: "brain", DType: "BF16", Shape: []int{4}, Data: values(4)},
		{Name: "a.weight", DType: "F32", Shape: []int{10, 30}, Load: func() ([]float32, error) { loaded = true; return values(300), nil }},
		{Name: "none", Shape: []int{0, 3}},
	}, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) || !loaded {
		n := min(b.Len(), len(want), 700)
		t.Errorf("%d bytes, want %d;\n%q\n%q", b.Len(), len(want), b.Bytes()[:n], want[:n])
	}
	f, err := Open(filepath.Join("testdata", "mixed.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, shape, err := f.Tensor("b.weight")
	if err != nil || !slices.Equal(x, values(6)) || !slices.Equal(shape, []int{2, 3}) || f.Metadata["format"] != "pt" {
		t.Errorf("%v %v %v %v", x, shape, f.Metadata, err)
	}
	if _, _, err := f.Tensor("missing"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestWriteErrors(t *testing.T) {
	one, failed := []float32{1}, errors.New("failed")
	for name, c := range map[string]struct {
		tensors []Tensor
		want    error
	}{
		"twice":    {[]Tensor{{Name: "a", Shape: []int{1}, Data: one}, {Name: "a", Shape: []int{1}, Data: one}}, nil},
		"metadata": {[]Tensor{{Name: "__metadata__", Shape: []int{1}, Data: one}}, nil},
		"shape":    {[]Tensor{{Name: "a", Shape: []int{2}, Data: one}}, nil},
		"negative": {[]Tensor{{Name: "a", Shape: []int{-1, -1}, Data: one}}, nil},
		"nothing":  {[]Tensor{{Name: "a", Shape: []int{1}}}, nil},
		"type":     {[]Tensor{{Name: "a", DType: "I64", Shape: []int{1}, Data: one}}, ErrUnsupported},
		"half":     {[]Tensor{{Name: "a", DType: "F16", Shape: []int{1}, Data: []float32{1e5}}}, ErrUnsupported},
		"load":     {[]Tensor{{Name: "a", Shape: []int{1}, Load: func() ([]float32, error) { return nil, failed }}}, failed},
		"loaded":   {[]Tensor{{Name: "a", Shape: []int{2}, Load: func() ([]float32, error) { return one, nil }}}, nil},
	} {
		err := Write(new(bytes.Buffer), c.tensors, map[string]string{"k": "v"})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
