//go:build !noasm

package kernels

import (
	"sync"

	"golang.org/x/sys/cpu"
)

var mayUseTiles = sync.OnceValue(allowTiles)

// Supported returns the implementations this machine runs, slowest first.
func Supported() []ISA {
	s := []ISA{Generic}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		s = append(s, AVX2)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
			s = append(s, AVX512)
			if cpu.X86.HasAVX512VNNI && mayUseTiles() {
				s = append(s, AMX)
			}
		}
	}
	return s
}

// HasBF16 reports whether bf16 products with weights run in hardware (AVX512_BF16 or AMX-BF16) with the implementation in
// use.
func HasBF16() bool { return vectorsBF16() || tilesBF16() }

// vectorsBF16 reports whether bf16 products are made by vectors. Not where there are tiles: such processors make half as
// many multiplications of bf16 in vectors as of f32.
func vectorsBF16() bool { return active == AVX512 && !tiles && cpu.X86.HasAVX512BF16 }
