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
	AMX                // with AVX512_VNNI and the tiles of AMX-INT8 and, where the processor has it, AMX-BF16, for products of many rows
)

func (i ISA) String() string {
	switch i {
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	case AMX:
		return "amx"
	}
	return "generic"
}

// active is the vectors' implementation in use, and tiles whether AMX's are used beside AVX512. They change only in Use.
var (
	active ISA
	tiles  bool
)

func init() { set(best()) }

func set(i ISA) { active, tiles = min(i, AVX512), i == AMX }

func best() ISA { s := Supported(); return s[len(s)-1] }

// Active returns the implementation in use.
func Active() ISA {
	if tiles {
		return AMX
	}
	return active
}

// Fastest returns the precision of the fastest products of many rows with weights, which are stored in codes or not.
func Fastest(coded bool) Precision {
	switch {
	case tilesBF16():
		return BF16
	case coded && HasVNNI():
		return Int8
	case HasBF16():
		return BF16
	}
	return F32
}

// Use chooses an implementation. It is for tests and measurements and must not run beside other calls of this package.
func Use(i ISA) error {
	if !slices.Contains(Supported(), i) {
		return fmt.Errorf("kernels: this machine has %v, not %v", Supported(), i)
	}
	set(i)
	return nil
}
