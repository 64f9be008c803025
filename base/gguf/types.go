package gguf

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrCorrupt reports a file that is truncated, damaged or not GGUF.
	ErrCorrupt = errors.New("gguf file is corrupt")
	// ErrUnsupported reports a version, type or quantisation that this package does not read.
	ErrUnsupported = errors.New("not supported")
	// ErrNotFound reports a key or tensor that the file lacks.
	ErrNotFound = errors.New("not found in the gguf file")
)

// Type is a tensor's element type, by ggml's numbers.
type Type uint32

// The element types that this package reads.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4K  Type = 12
	Q5K  Type = 13
	Q6K  Type = 14
	BF16 Type = 30
)

// layout is how a type stores its elements: blocks of so many elements in so many bytes.
type layout struct {
	name    string
	block   int
	bytes   int
	dequant func(dst []float32, b []byte) // one block
}

// widen writes whole blocks.
func (l layout) widen(dst []float32, raw []byte) {
	for i := 0; i*l.block < len(dst); i++ {
		l.dequant(dst[i*l.block:(i+1)*l.block], raw[i*l.bytes:(i+1)*l.bytes])
	}
}

var layouts = map[Type]layout{
	F32:  {"F32", 1, 4, dequantF32},
	F16:  {"F16", 1, 2, dequantF16},
	BF16: {"BF16", 1, 2, dequantBF16},
	Q4_0: {"Q4_0", 32, 18, dequantQ4_0},
	Q4_1: {"Q4_1", 32, 20, dequantQ4_1},
	Q5_0: {"Q5_0", 32, 22, dequantQ5_0},
	Q5_1: {"Q5_1", 32, 24, dequantQ5_1},
	Q8_0: {"Q8_0", 32, 34, dequantQ8_0},
	Q4K:  {"Q4_K", 256, 144, dequantQ4K},
	Q5K:  {"Q5_K", 256, 176, dequantQ5K},
	Q6K:  {"Q6_K", 256, 210, dequantQ6K},
}

// String returns ggml's name of the type.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

func knownTypes() string {
	var names []string
	for _, t := range []Type{F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4K, Q5K, Q6K} {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// TensorInfo describes one tensor.
type TensorInfo struct {
	Name   string
	Type   Type
	Shape  []int // the slowest dimension first, the reverse of the file's order
	Offset int64 // in bytes from the start of the file that it is in
	Bytes  int64
	part   int // of a model that is split: the file
}

// Elements returns the product of the shape.
func (t *TensorInfo) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}
