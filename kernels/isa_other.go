//go:build !amd64 || noasm

package kernels

// Supported returns the implementations this machine runs, slowest first.
func Supported() []ISA { return []ISA{Generic} }

// HasBF16 reports whether bf16 products with weights run in hardware (AVX512_BF16 or AMX-BF16) with the implementation in
// use.
func HasBF16() bool { return false }

func vectorsBF16() bool { return false }

func tilesBF16() bool { return false }
