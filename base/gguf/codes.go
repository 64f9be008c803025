package gguf

import (
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// codeValues is how many values of a row share a scale, in all types that have codes.
const codeValues = 32

// Codes returns a matrix in the codes it is stored in, [rows, columns], without a loss: W = D·code + M in every block of
// 32. Rows are read from the file when they are asked for, until it is closed. Codes are there for Q4_0, Q4_1, Q5_0, Q5_1
// and Q8_0 (the five-bit ones as codes of 8 bits); other types give ErrUnsupported, and so does a row with a scale beyond
// what a half holds.
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
	n, k := info.Shape[0], info.Shape[1]
	size := layouts[info.Type].bytes
	row := k / codeValues * size
	return &kernels.Codes{N: n, K: k, Bits: u.bits, Row: func(i int, d, m []uint16, code []byte) error {
		u.read(d, m, code, raw[i*row:(i+1)*row], size)
		if !finite(d) || !finite(m) {
			return fmt.Errorf("tensor %q: a scale of row %d is no finite half: %w", name, i, ErrUnsupported)
		}
		return nil
	}}, nil
}

func finite(halves []uint16) bool {
	return !slices.ContainsFunc(halves, func(h uint16) bool { return h>>10&31 == 31 })
}

// unpacker reads blocks of a type.
type unpacker struct {
	bits  int
	zero  float32                       // the code that stands for zero, where the half that is added is not stored
	codes func(dst []byte, from []byte) // one block's, after its halves
}

var unpackers = map[Type]unpacker{
	Q4_0: {4, 8, nibbles},
	Q4_1: {4, 0, nibbles},
	Q5_0: {8, 16, fives},
	Q5_1: {8, 0, fives},
	Q8_0: {8, 128, signed},
}

// read reads the blocks of a row, size bytes each.
func (u unpacker) read(d, m []uint16, code, raw []byte, size int) {
	n := codeValues * u.bits / 8
	for b := range d {
		block := raw[b*size : (b+1)*size]
		d[b] = le.Uint16(block)
		if block = block[2:]; u.zero == 0 {
			m[b], block = le.Uint16(block), block[2:]
		}
		u.codes(code[b*n:(b+1)*n], block)
	}
	if u.zero != 0 {
		lowest(m, d, u.zero)
	}
}

// lowest writes -zero·d: what a code of nothing stands for.
func lowest(m, d []uint16, zero float32) {
	var wide [64]float32
	for len(d) > 0 {
		w := wide[:min(len(d), len(wide))]
		kernels.FromF16(w, d[:len(w)])
		for i, v := range w {
			if w[i] = -zero * v; math.Abs(float64(w[i])) > kernels.MaxF16 {
				w[i] = float32(math.Inf(1))
			}
		}
		kernels.ToF16(m[:len(w)], w)
		m, d = m[len(w):], d[len(w):]
	}
}

// nibbles are in the order that kernels.Codes has.
func nibbles(dst, from []byte) { copy(dst, from[:codeValues/2]) }

func fives(dst, from []byte) {
	high := le.Uint32(from)
	for i, v := range from[4 : 4+codeValues/2] {
		dst[i] = v&15 | byte(high>>i&1)<<4
		dst[i+16] = v>>4 | byte(high>>(i+16)&1)<<4
	}
}

// signed makes bytes of a sign codes of 0 to 255.
func signed(dst, from []byte) {
	for i := 0; i < codeValues; i += 8 {
		le.PutUint64(dst[i:], le.Uint64(from[i:])^0x8080808080808080)
	}
}
