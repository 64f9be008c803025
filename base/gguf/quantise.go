package gguf

import (
	"fmt"
	"math"

	"github.com/gopeft/peft/kernels"
)

// largest is the greatest magnitude of the types that hold less than f32: a half, and a half times 127.
var largest = map[Type]float64{F16: kernels.MaxF16, Q8_0: kernels.MaxF16 * 127}

// representable reports the first value that a type cannot hold; NaN is one.
func representable(x []float32, t Type) error {
	most, ok := largest[t]
	if !ok {
		return nil
	}
	for i, v := range x {
		if !(math.Abs(float64(v)) <= most) {
			return fmt.Errorf("value %d is %g, %v holds up to ±%g: %w", i, v, t, most, ErrUnsupported)
		}
	}
	return nil
}

// quantise appends values in a type's layout: F32, F16, BF16, or whole blocks of Q8_0.
func quantise(b []byte, x []float32, t Type) []byte {
	switch t {
	case F32:
		for _, v := range x {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case F16, BF16:
		h := make([]uint16, len(x))
		if t == F16 {
			kernels.ToF16(h, x)
		} else {
			kernels.ToBF16(h, x)
		}
		for _, v := range h {
			b = le.AppendUint16(b, v)
		}
	case Q8_0:
		for i := 0; i < len(x); i += 32 {
			b = quantiseQ8_0(b, x[i:i+32])
		}
	}
	return b
}

// quantiseQ8_0 appends one block: the scale as a half, then 32 signed bytes. It has the bits of ggml's reference, which
// multiplies by the inverse of the scale before that is rounded, and rounds halves away from zero.
func quantiseQ8_0(b []byte, x []float32) []byte {
	var m float32
	for _, v := range x {
		m = max(m, float32(math.Abs(float64(v))))
	}
	d := m / 127
	inv := 1 / d
	if math.IsInf(float64(inv), 0) { // the scale is 0 as a half too
		inv = 0
	}
	var h [1]uint16
	kernels.ToF16(h[:], []float32{d})
	b = le.AppendUint16(b, h[0])
	for _, v := range x {
		b = append(b, byte(int8(math.Round(float64(v*inv)))))
	}
	return b
}
