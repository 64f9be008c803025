package kernels

import (
	"encoding/binary"
	"math"
)

// unpackBiasedGeneric writes 32 columns of pairs of groups, stride bytes apart, as (*Coded).unpackBiased has them.
func unpackBiasedGeneric(first, second []byte, scales []float32, from []byte, bits, stride, pairs int) {
	top := float32(int(1)<<bits - 1)
	abs := func(f float32) float32 { return float32(math.Abs(float64(f))) }
	for b := range pairs {
		var d, m [codeBlock]float32
		most := float32(leastScale)
		for r := range d {
			part := from[(2*b+r/codeRows)*stride+r%codeRows*2:]
			d[r] = F16(binary.LittleEndian.Uint16(part))
			m[r] = F16(binary.LittleEndian.Uint16(part[2*codeRows:]))
			most = max(most, abs(m[r]), abs(d[r]*top+m[r]))
		}
		scales[b] = most * (1.0 / 127)
		inv := 127 / most
		for r := range d {
			codes := from[(2*b+r/codeRows)*stride+4*codeRows:]
			for j := range codeBlock {
				to := first
				if j >= codeRows {
					to = second
				}
				v := float32(codeAt(codes, bits, r%codeRows, j))*(d[r]*inv) + (m[r]*inv + 128)
				to[b*codeBlock*codeRows+r/4*64+j%codeRows*4+r%4] = byte(toInt32(v))
			}
		}
	}
}

// mulBiasedGeneric multiplies rows of x in the biased layout, ldq bytes apart, with 16 columns: y: [rows, 16], rows ldy apart.
func mulBiasedGeneric(rows, blocks int, w []byte, scales []float32, q []byte, ldq int, y []float32, ldy int, acc bool) {
	for t := range rows {
		for c := range codeRows {
			var sum float32
			for b := range blocks {
				x := q[t*ldq+b*bytes8:]
				word := func(i int) uint32 { return binary.LittleEndian.Uint32(x[i:]) }
				dot := int32(word(codeBlock + 4))
				for j := range codeBlock {
					dot += int32(w[b*codeBlock*codeRows+j/4*64+c*4+j%4]) * int32(int8(x[j]))
				}
				sum += scales[b] * (math.Float32frombits(word(codeBlock)) * float32(dot))
			}
			if acc {
				sum += y[t*ldy+c]
			}
			y[t*ldy+c] = sum
		}
	}
}
