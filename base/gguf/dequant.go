package gguf

import (
	"encoding/binary"
	"math"

	"github.com/gopeft/peft/kernels"
)

// Each function widens one block as ggml's reference does (ggml-quants.c describes the layouts).

var le = binary.LittleEndian

func half(b []byte) float32 { return kernels.F16(le.Uint16(b)) }

func dequantF32(dst []float32, b []byte)  { dst[0] = math.Float32frombits(le.Uint32(b)) }
func dequantF16(dst []float32, b []byte)  { dst[0] = half(b) }
func dequantBF16(dst []float32, b []byte) { dst[0] = math.Float32frombits(uint32(le.Uint16(b)) << 16) }

func dequantQ8_0(dst []float32, b []byte) {
	d := half(b)
	for i := range 32 {
		dst[i] = d * float32(int8(b[2+i]))
	}
}

func dequantQ4_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:18] {
		dst[i] = d * float32(int(q&15)-8)
		dst[i+16] = d * float32(int(q>>4)-8)
	}
}

func dequantQ4_1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, q := range b[4:20] {
		dst[i] = d*float32(q&15) + m
		dst[i+16] = d*float32(q>>4) + m
	}
}

func dequantQ5_0(dst []float32, b []byte) {
	d, hi := half(b), le.Uint32(b[2:])
	for i, q := range b[6:22] {
		dst[i] = d * float32(int(uint32(q&15)|hi>>i&1<<4)-16)
		dst[i+16] = d * float32(int(uint32(q>>4)|hi>>(i+16)&1<<4)-16)
	}
}

func dequantQ5_1(dst []float32, b []byte) {
	d, m, hi := half(b), half(b[2:]), le.Uint32(b[4:])
	for i, q := range b[8:24] {
		dst[i] = d*float32(uint32(q&15)|hi>>i&1<<4) + m
		dst[i+16] = d*float32(uint32(q>>4)|hi>>(i+16)&1<<4) + m
	}
}

// scaleMin unpacks the 6-bit scale and minimum of sub-block j from the 12 bytes that Q4_K and Q5_K share.
func scaleMin(s []byte, j int) (scale, minimum float32) {
	if j < 4 {
		return float32(s[j] & 63), float32(s[j+4] & 63)
	}
	return float32(s[j+4]&15 | s[j-4]>>6<<4), float32(s[j+4]>>4 | s[j]>>6<<4)
}

func dequantQ4K(dst []float32, b []byte) {
	d, dmin, s, q := half(b), half(b[2:]), b[4:16], b[16:144]
	for j := 0; j < 8; j += 2 {
		sc1, m1 := scaleMin(s, j)
		sc2, m2 := scaleMin(s, j+1)
		for i, x := range q[j*16 : j*16+32] {
			dst[j*32+i] = d*sc1*float32(x&15) - dmin*m1
			dst[j*32+32+i] = d*sc2*float32(x>>4) - dmin*m2
		}
	}
}

func dequantQ5K(dst []float32, b []byte) {
	d, dmin, s, hi, q := half(b), half(b[2:]), b[4:16], b[16:48], b[48:176]
	for j := 0; j < 8; j += 2 {
		sc1, m1 := scaleMin(s, j)
		sc2, m2 := scaleMin(s, j+1)
		for i, x := range q[j*16 : j*16+32] {
			dst[j*32+i] = d*sc1*float32(x&15|hi[i]>>j&1<<4) - dmin*m1
			dst[j*32+32+i] = d*sc2*float32(x>>4|hi[i]>>(j+1)&1<<4) - dmin*m2
		}
	}
}

func dequantQ6K(dst []float32, b []byte) {
	lo, hi, sc, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for n := range 2 {
		l, h, s, y := lo[n*64:], hi[n*32:], sc[n*8:], dst[n*128:]
		for i := range 32 {
			put := func(k int, q byte) { y[k*32+i] = d * float32(int8(s[2*k+i/16])) * float32(int(q)-32) }
			put(0, l[i]&15|h[i]&3<<4)
			put(1, l[i+32]&15|h[i]>>2&3<<4)
			put(2, l[i]>>4|h[i]>>4&3<<4)
			put(3, l[i+32]>>4|h[i]>>6<<4)
		}
	}
}
