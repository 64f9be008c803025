package kernels

import (
	"encoding/binary"
	"math"
)

// quantiseRowGeneric writes the blocks of a row. A block with a NaN has a NaN scale.
func quantiseRowGeneric(dst []byte, x []float32, l layout) {
	size := l.bytes()
	for b := range len(x) / codeBlock {
		v, to := x[b*codeBlock:(b+1)*codeBlock], dst[b*size:(b+1)*size]
		most := float32(leastScale)
		nan := false
		for _, f := range v {
			most = max(most, float32(math.Abs(float64(f))))
			nan = nan || f != f
		}
		inv, s, sum := quantisedMost/most, most*(1.0/quantisedMost), int32(0)
		for j, f := range v {
			q := toInt32(f * inv)
			high := (q + 128) >> 8
			to[j] = byte(high)
			if l == parts16 {
				to[codeBlock+j] = byte(q - high<<8)
			}
			if l == biased8 {
				q = high
			}
			sum += q
		}
		if l == biased8 {
			s = most * (256.0 / quantisedMost)
		}
		if nan {
			s = float32(math.NaN())
		}
		second := math.Float32bits(s * float32(sum))
		if l == biased8 {
			second = uint32(-128 * sum)
		}
		binary.LittleEndian.PutUint32(to[size-8:], math.Float32bits(s))
		binary.LittleEndian.PutUint32(to[size-4:], second)
	}
}

// leastScale keeps a block of zeros from being divided by zero.
const leastScale = 1e-30

// toInt32 rounds to the nearest whole number, ties to even, and gives the least one for what does not fit, as processors do.
func toInt32(f float32) int32 {
	r := math.RoundToEven(float64(f))
	if !(r >= math.MinInt32 && r <= math.MaxInt32) {
		return math.MinInt32
	}
	return int32(r)
}

// mulCodesGeneric multiplies rows of quantised x, ldq bytes apart, with one group: y: [rows, 16], rows ldy apart. high
// leaves the low parts of x out, but for their share in the sum that M is multiplied with.
func mulCodesGeneric(rows, bits int, high bool, group, q []byte, ldq int, y []float32, ldy int, acc bool) {
	size := 4*codeRows + codeRows*codeBlock*bits/8
	l := partsOf(high)
	for t := range rows {
		for r := range codeRows {
			var sum float32
			for b := range len(group) / size {
				part, x := group[b*size:(b+1)*size], q[t*ldq+b*l.bytes():]
				var dot int32
				for j := range codeBlock {
					v := 256 * int32(int8(x[j]))
					if !high {
						v += int32(int8(x[codeBlock+j]))
					}
					dot += int32(codeAt(part[4*codeRows:], bits, r, j)) * v
				}
				half := func(i int) float32 { return F16(binary.LittleEndian.Uint16(part[2*i:])) }
				word := func(i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(x[i:])) }
				sum += half(r)*word(l.bytes()-8)*float32(dot) + half(codeRows+r)*word(l.bytes()-4)
			}
			if acc {
				sum += y[t*ldy+r]
			}
			y[t*ldy+r] = sum
		}
	}
}

// codeAt returns a block's code of row r and value j.
func codeAt(codes []byte, bits, r, j int) byte {
	if bits == 8 {
		return codes[j/4*64+4*r+j%4]
	}
	return codes[j%16/4*64+4*r+j%4] >> (j / 16 * 4) & 15
}
