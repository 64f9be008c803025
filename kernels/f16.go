package kernels

import "math"

// MaxF16 is the largest finite IEEE half.
const MaxF16 = 65504

// ToF16 rounds f32 to IEEE halves, to nearest even.
func ToF16(dst []uint16, src []float32) { toF16(dst, src[:len(dst)]) }

// FromF16 widens IEEE half-precision values to f32.
func FromF16(dst []float32, src []uint16) { fromF16(dst, src[:len(dst)]) }

// F16 returns the value of an IEEE half.
func F16(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch {
	case exp == 0:
		v := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case exp == 31 && frac != 0: // a quiet NaN, as processors have it
		return math.Float32frombits(sign | 0x7fc00000 | frac<<13)
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

func fromF16Generic(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = F16(h)
	}
}

func toF16Generic(dst []uint16, src []float32) {
	for i, f := range src {
		dst[i] = roundF16(f)
	}
}

func roundF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign, e, m := uint16(b>>16)&0x8000, int(b>>23&255), b&0x7fffff
	switch {
	case e == 255 && m != 0:
		return sign | 0x7e00 | uint16(m>>13)
	case e >= 143: // 2^16 and more, infinity
		return sign | 0x7c00
	case e >= 113:
		v := uint32(e-112)<<10 | m>>13
		v += roundUp(m, 13, v)
		return sign | uint16(v)
	case e >= 102: // denormal halves
		m |= 1 << 23
		s := uint(126 - e)
		v := m >> s
		v += roundUp(m, s, v)
		return sign | uint16(v)
	}
	return sign
}

// roundUp returns 1 when the low s bits of m round v up, ties to even.
func roundUp(m uint32, s uint, v uint32) uint32 {
	half := uint32(1) << (s - 1)
	if low := m & (half<<1 - 1); low > half || low == half && v&1 == 1 {
		return 1
	}
	return 0
}
