package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// biasedProduct multiplies mr rows of x in the biased layout, lda bytes apart, with 16 columns of biased bytes, four values
// of each column side by side: y += scale·s·(Σ q·byte − 128·Σ q), with a scale for every block of 32.
func biasedProduct(mr int) {
	name := fmt.Sprintf("biased%dVNNI", mr)
	TEXT(name, NOSPLIT, "func(blocks int, w *byte, scales *float32, a *byte, lda int, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d quantised rows with 16 columns of biased bytes.", name, mr))
	blocks := Load(Param("blocks"), GP64())
	w, scales := ptr("w"), ptr("scales")
	a, lda := ptr("a"), ptr("lda")
	r := loadRows(a, lda, mr)
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		acc[i] = []VecVirtual{avx512.zero()}
	}
	code := make([]VecVirtual, 8)
	for i := range code {
		code[i] = ZMM()
	}
	sums := make([]VecVirtual, min(4, mr)) // as many as hide the latency of a dot product
	for i := range sums {
		sums[i] = ZMM()
	}
	Label("loop")
	for i := range code {
		VMOVDQU32(Mem{Base: w, Disp: i * 64}, code[i])
	}
	for row := 0; row < mr; row += len(sums) {
		for i, sum := range sums {
			VPBROADCASTD(r.mem(row+i, biased.words+4), sum)
		}
		for j, c := range code {
			for i, sum := range sums {
				VPDPBUSD_BCST(r.mem(row+i, 4*j), c, sum)
			}
		}
		for i, sum := range sums {
			VCVTDQ2PS(sum, sum)
			VMULPS_BCST(r.mem(row+i, biased.words), sum, sum)
			VFMADD231PS_BCST(Mem{Base: scales}, sum, acc[row+i][0])
		}
	}
	ADDQ(U32(512), w)
	ADDQ(Imm(4), scales)
	r.advance(biased.bytes)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	storeTile(avx512, acc)
}

// unpackBiased writes 32 columns of pairs of groups as biased bytes, those of the first 16 columns at first and of the
// others at second, and one scale a pair: value = scale·(byte − 128).
func unpackBiased(bits int) {
	name := fmt.Sprintf("unpackBiased%dAVX512", bits)
	TEXT(name, NOSPLIT, "func(pairs int, from *byte, stride int, first, second *byte, scales *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s writes 32 columns of pairs of groups of %d-bit codes as biased bytes.", name, bits))
	pairs, from, stride := Load(Param("pairs"), GP64()), ptr("from"), ptr("stride")
	to := []Register{ptr("first"), ptr("second")}
	scales := ptr("scales")
	next := GP64()
	abs := avx512.constant("codeAbs", 0x7fffffff)
	low := avx512.constant("unpackLow", 0xff)
	bias := avx512.float("biasedBias", 128)
	turn := ZMM()
	VBROADCASTI32X4(table(fmt.Sprintf("biasedTurn%d", bits), 0x0d0905010c080400, 0x0f0b07030e0a0602), turn) // 4 × 4 bytes
	d, m := []VecVirtual{ZMM(), ZMM()}, []VecVirtual{ZMM(), ZMM()}
	codes, x := ZMM(), []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}
	quads := []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}
	t := ZMM()
	Label("loop")
	LEAQ(Mem{Base: from, Index: stride, Scale: 1}, next)
	groups := []Register{from, next}

	// The scale is the largest value that the codes allow, over 127.
	big := ZMM()
	for i, g := range groups {
		VCVTPH2PS(Mem{Base: g}, d[i])
		VCVTPH2PS(Mem{Base: g, Disp: 2 * codeRows}, m[i])
		VMOVAPS(m[i], t)
		VFMADD231PS_BCST(word(fmt.Sprintf("biasedTop%d", bits), math.Float32bits(float32(int(1)<<bits-1))), d[i], t)
		VPANDD(abs, t, t)
		if i == 0 {
			VMOVAPS(t, big)
		} else {
			VMAXPS(t, big, big)
		}
		VPANDD(abs, m[i], t)
		VMAXPS(t, big, big)
	}
	h, g := avx512.largest(big), XMM()
	VMAXSS(word("codeLeast", math.Float32bits(1e-30)), h, h)
	VMULSS(word("biasedShare", math.Float32bits(1.0/127)), h, g)
	VMOVSS(g, Mem{Base: scales})
	VMOVSS(word("biasedMost", math.Float32bits(127)), g)
	VDIVSS(h, g, g)
	VBROADCASTSS(g, t)
	for i := range groups {
		VMULPS(t, d[i], d[i])
		VFMADD213PS(bias, t, m[i])
	}

	for i, g := range groups {
		for half := range to {
			for k := range 4 {
				at := Mem{Base: g, Disp: 4*codeRows + 64*k}
				if bits == 8 {
					at.Disp += 256 * half
				}
				VMOVDQU32(at, codes)
				if bits == 4 {
					if half == 1 {
						VPSRLW(Imm(4), codes, codes)
					}
					VPANDD_BCST(word("codeMask", 0x0f0f0f0f), codes, codes)
				}
				for j := range x {
					if j > 0 {
						VPSRLD(Imm(uint64(8*j)), codes, x[j])
					}
					switch j {
					case 0:
						VPANDD(low, codes, x[j])
					case 1, 2:
						VPANDD(low, x[j], x[j])
					}
					VCVTDQ2PS(x[j], x[j])
					VFMADD213PS(m[i], d[i], x[j])
					VCVTPS2DQ(x[j], x[j])
					if j > 0 {
						VPSLLD(Imm(uint64(8*j)), x[j], x[j])
					}
				}
				VPTERNLOGD(Imm(0xfe), x[1], x[2], x[0]) // or
				VPORD(x[3], x[0], quads[k])
				VPSHUFB(turn, quads[k], quads[k])
			}
			// quads[k] has in each quarter four columns of four rows: turn the quarters.
			VSHUFI32X4(Imm(0x44), quads[1], quads[0], x[0])
			VSHUFI32X4(Imm(0xee), quads[1], quads[0], x[1])
			VSHUFI32X4(Imm(0x44), quads[3], quads[2], x[2])
			VSHUFI32X4(Imm(0xee), quads[3], quads[2], x[3])
			for k := range quads {
				VSHUFI32X4(Imm(uint64(0x88+k%2*0x55)), x[2+k/2], x[k/2], t)
				VMOVDQU32(t, Mem{Base: to[half], Disp: 256*i + 64*k})
			}
		}
	}
	LEAQ(Mem{Base: from, Index: stride, Scale: 2}, from)
	for _, g := range to {
		ADDQ(U32(512), g)
	}
	ADDQ(Imm(4), scales)
	DECQ(pairs)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
