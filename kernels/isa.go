package kernels

import (
	"fmt"
	"slices"
)

// ISA is one implementation of the kernels.
type ISA uint8

// The implementations, slowest first.
const (
	Generic ISA = iota // pure Go
	AVX2               // with FMA and F16C
	AVX512             // F, BW, DQ and VL
)

func (i ISA) String() string {
	switch i {
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	}
	return "generic"
}

// active is the implementation in use. It changes only in Use.
var active = best()

func best() ISA { s := Supported(); return s[len(s)-1] }

// Active returns the implementation in use.
func Active() ISA { return active }

// Use chooses an implementation. It is for tests and measurements and must not run beside other calls of this package.
func Use(i ISA) error {
	if !slices.Contains(Supported(), i) {
		return fmt.Errorf("kernels: this machine has %v, not %v", Supported(), i)
	}
	active = i
	return nil
}
