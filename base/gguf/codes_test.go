package gguf

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/gopeft/peft/kernels"
)

// TestCodes compares codes and scales with the values that the same bytes stand for.
func TestCodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for typ, l := range layouts {
		raw := make([]byte, 6*l.bytes*max(1, 32/l.block))
		for i := range raw {
			raw[i] = byte(rnd.IntN(256))
		}
		for at := 0; at < len(raw); at += l.bytes { // halves between 2^-14 and 2^9: Q8_0 keeps 128 times as much
			for i := 1; i < 4 && i < l.bytes; i += 2 {
				raw[at+i] = raw[at+i]&0x80 | byte(rnd.IntN(23)+1)<<2
			}
		}
		cols := len(raw) / l.bytes * l.block / 3
		f := &File{tensors: []TensorInfo{{Name: "w", Shape: []int{3, cols}, Type: typ, Bytes: int64(len(raw))}}, byName: map[string]int{"w": 0}, parts: []part{{data: raw}}}
		c, err := f.Codes("w")
		if _, ok := unpackers[typ]; !ok {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%v: %v", typ, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", typ, err)
			continue
		}
		want, _, err := f.Tensor("w")
		if err != nil {
			t.Fatal(err)
		}
		ds, ms, code := make([]uint16, cols/32), make([]uint16, cols/32), make([]byte, cols*c.Bits/8)
		for i, w := range want {
			if i%cols == 0 {
				if err := c.Row(i/cols, ds, ms, code); err != nil {
					t.Fatalf("%v: row %d: %v", typ, i/cols, err)
				}
			}
			j := i % cols
			d, m, v := float64(kernels.F16(ds[j/32])), float64(kernels.F16(ms[j/32])), codeOf(c.Bits, code, j)
			if got := float32(d*float64(v) + m); got != w {
				t.Fatalf("%v: value %d is %g·%d%+g = %g, want %g", typ, i, d, v, m, got, w)
			}
		}
	}
}

// codeOf returns code j of a row.
func codeOf(bits int, code []byte, j int) byte {
	if bits == 8 {
		return code[j]
	}
	return code[j/32*16+j%16] >> (j % 32 / 16 * 4) & 15
}

// TestCodesErrors: scales that are no finite halves are left to f32.
func TestCodesErrors(t *testing.T) {
	for name, raw := range map[string][]byte{
		"infinite d": append([]byte{0, 0x7c}, make([]byte, 32)...),
		"128·d":      append([]byte{0xff, 0x7b}, make([]byte, 32)...),
	} {
		f := &File{tensors: []TensorInfo{{Name: "w", Shape: []int{1, 32}, Type: Q8_0, Bytes: 34}}, byName: map[string]int{"w": 0}, parts: []part{{data: raw}}}
		c, err := f.Codes("w")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Row(0, make([]uint16, 1), make([]uint16, 1), make([]byte, 32)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := &File{}
	if _, err := f.Codes("w"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
