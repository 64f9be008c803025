package llama

import (
	"errors"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

// codes is a source of two weights: one of 4 bits, whose code j of row i is (i+j) mod 16, and one of 8 bits, of i+j.
type codes struct{ err error }

func (s codes) Tensor(string) ([]float32, []int, error) { return nil, nil, errors.New("not asked for") }

func (s codes) Codes(name string) (*kernels.Codes, error) {
	c := &kernels.Codes{N: 2, K: 64, Bits: 8}
	if name == "four" {
		c.Bits = 4
	}
	c.Row = func(i int, d, m []uint16, code []byte) error {
		for b := range d {
			d[b], m[b] = uint16(100*c.Bits+10*i+b), uint16(b)
		}
		for j := range c.K {
			if c.Bits == 8 {
				code[j] = byte(i + j)
			} else if at := j/32*16 + j%16; j%32 < 16 {
				code[at] = byte((i + j) % 16)
			} else {
				code[at] |= byte((i+j)%16) << 4
			}
		}
		return s.err
	}
	return c, nil
}

// TestJoinedCodes: rows of joined weights stand one after the other, those of 4 bits widened where another has 8.
func TestJoinedCodes(t *testing.T) {
	c, err := loadCodes(codes{}, 64, []string{"four", "eight"}, []int{2, 2})
	if err != nil {
		t.Fatal(err)
	}
	if c.N != 4 || c.Bits != 8 {
		t.Fatalf("%d rows of %d bits, want 4 of 8", c.N, c.Bits)
	}
	for row := range 4 {
		d, m, code, want := make([]uint16, 2), make([]uint16, 2), make([]byte, 64), make([]byte, 64)
		if err := c.Row(row, d, m, code); err != nil {
			t.Fatal(err)
		}
		bits, i := 4, row
		if row >= 2 {
			bits, i = 8, row-2
		}
		for j := range want {
			if want[j] = byte(i + j); bits == 4 {
				want[j] %= 16
			}
		}
		if !slices.Equal(code, want) || d[1] != uint16(100*bits+10*i+1) || m[1] != 1 {
			t.Errorf("row %d: codes %v, d %v, m %v", row, code, d, m)
		}
	}
	if err := c.Row(4, make([]uint16, 2), make([]uint16, 2), make([]byte, 64)); !errors.Is(err, ErrWeights) {
		t.Errorf("a fifth row: %v", err)
	}
	if _, err := loadCodes(codes{}, 64, []string{"four"}, []int{3}); !errors.Is(err, ErrWeights) {
		t.Errorf("another shape: %v", err)
	}
}

// TestCodesThatCannotBe: a weight with a scale that codes cannot have is left to other products; other errors are told.
func TestCodesThatCannotBe(t *testing.T) {
	if !kernels.HasVNNI() {
		t.Skip("this machine multiplies no codes")
	}
	for rowErr, want := range map[error]error{gguf.ErrUnsupported: nil, gguf.ErrCorrupt: gguf.ErrCorrupt} {
		m := &Model{prec: kernels.Stored, src: codes{rowErr}}
		w := weight{n: 2, k: 64}
		if done, err := w.packCodes(m, nil, []string{"four"}, []int{2}); done || w.codes != nil || !errors.Is(err, want) {
			t.Errorf("%v: packed %v, error %v", rowErr, done, err)
		}
	}
}
