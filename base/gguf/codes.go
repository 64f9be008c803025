package gguf

import (
	"fmt"
	"math"

	"github.com/gopeft/peft/kernels"
)

// Codes returns a matrix in the codes it is stored in, [rows, columns], without a loss: W = D·code + M in every block of
// 32. It is there for Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 (the five-bit ones as codes of 8 bits); other types, and scales
// beyond what a half holds, give ErrUnsupported.
func (f *File) Codes(name string) (*kernels.Codes, error) {
	info, ok := f.Info(name)
	if !ok {
		return nil, fmt.Errorf("tensor %q: %w", name, ErrNotFound)
	}
	u, ok := unpackers[info.Type]
	if !ok || len(info.Shape) != 2 {
		return nil, fmt.Errorf("tensor %q, %v of shape %v, has no codes: %w", name, info.Type, info.Shape, ErrUnsupported)
	}
	raw, err := f.Raw(name)
	if err != nil {
		return nil, err
	}
	c := &kernels.Codes{N: info.Shape[0], K: info.Shape[1], Bits: u.bits, Code: make([]uint8, info.Elements())}
	blocks, size := len(c.Code)/32, layouts[info.Type].bytes
	c.D, c.M = make([]uint16, blocks), make([]uint16, blocks)
	for i := range blocks {
		b := raw[i*size : (i+1)*size]
		c.D[i] = le.Uint16(b)
		if c.M[i], b = u.minimum(b); !finite(c.D[i]) || !finite(c.M[i]) {
			return nil, fmt.Errorf("tensor %q: the scale of block %d is no finite half: %w", name, i, ErrUnsupported)
		}
		u.codes(c.Code[i*32:(i+1)*32], b)
	}
	return c, nil
}

func finite(h uint16) bool { return h>>10&31 != 31 }

// unpacker reads the blocks of a type: the half that is added, then the codes from the rest.
type unpacker struct {
	bits    int
	minimum func(b []byte) (m uint16, rest []byte)
	codes   func(dst []uint8, b []byte)
}

var unpackers = map[Type]unpacker{
	Q4_0: {4, offset(8), nibbles},
	Q4_1: {4, stored, nibbles},
	Q5_0: {8, offset(16), fives},
	Q5_1: {8, stored, fives},
	Q8_0: {8, offset(128), func(dst []uint8, b []byte) {
		for i := range dst {
			dst[i] = b[i] ^ 0x80
		}
	}},
}

// offset is for types whose code o stands for zero.
func offset(o float32) func([]byte) (uint16, []byte) {
	return func(b []byte) (uint16, []byte) {
		m := []uint16{0}
		v := -o * half(b)
		if math.Abs(float64(v)) > 65504 {
			v = float32(math.Inf(1))
		}
		kernels.ToF16(m, []float32{v})
		return m[0], b[2:]
	}
}

func stored(b []byte) (uint16, []byte) { return le.Uint16(b[2:]), b[4:] }

func nibbles(dst []uint8, b []byte) {
	for i, v := range b[:16] {
		dst[i], dst[i+16] = v&15, v>>4
	}
}

func fives(dst []uint8, b []byte) {
	high := le.Uint32(b)
	nibbles(dst, b[4:])
	for i := range dst {
		dst[i] |= uint8(high>>i&1) << 4
	}
}
