package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// zmm are the vector registers by number: the bytes of an instruction name registers, so that avo cannot choose them.
var zmm = []VecPhysical{Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31}

// dpbf16 emits VDPBF16PS Zb, Za, Zacc: acc += pairs of a·b.
func dpbf16(acc, a, b int) {
	Comment(fmt.Sprintf("VDPBF16PS Z%d, Z%d, Z%d", b, a, acc))
	encoded(2, 0x52, acc, a, b)
}

// cvtne2 emits VCVTNE2PS2BF16 Zlow, Zhigh, Zdst: dst is low, rounded to bf16, and above it high. Denormals become zero.
func cvtne2(dst, high, low int) {
	Comment(fmt.Sprintf("VCVTNE2PS2BF16 Z%d, Z%d, Z%d", low, high, dst))
	encoded(3, 0x72, dst, high, low)
}

// encoded emits an instruction of AVX512_BF16, which Go's assembler lacks, as its six bytes (Intel SDM, volume 2C:
// EVEX.512.pp.0F38.W0 opcode /r, where pp is 2 for F3 and 3 for F2; the bits of P0 to P2 in section 2.7.1).
func encoded(pp uint32, opcode byte, reg, vvvv, rm int) {
	inv := func(bit int) uint32 { return uint32(bit&1) ^ 1 }
	p0 := inv(reg>>3)<<7 | inv(rm>>4)<<6 | inv(rm>>3)<<5 | inv(reg>>4)<<4 | 2 // R X B R' 0 mmm = 0F38
	p1 := uint32(^vvvv&15)<<3 | 1<<2 | pp                                     // W = 0, vvvv, 1, pp
	p2 := uint32(2)<<5 | inv(vvvv>>4)<<3                                      // z = 0, L'L = 512, b = 0, V', aaa = 0
	modrm := uint32(0xC0) | uint32(reg&7)<<3 | uint32(rm&7)
	Instruction(&ir.Instruction{Opcode: "LONG", Operands: []Op{U32(0x62 | p0<<8 | p1<<16 | p2<<24)}})
	Instruction(&ir.Instruction{
		Opcode: "WORD", Operands: []Op{U16(uint32(opcode) | modrm<<8)},
		Inputs: []Op{zmm[vvvv], zmm[rm]}, Outputs: []Op{zmm[reg]},
	})
}

// gemmBF16 is gemmF32 over pairs of bf16: a holds rows of bf16 (lda in elements), b a panel of [pairs][48][2] bf16.
func gemmBF16(mr int) {
	const nv = 3
	name := fmt.Sprintf("gemm%dx48BF16", mr)
	TEXT(name, NOSPLIT, "func(pairs int, a *uint16, lda int, b *uint16, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d rows of bf16 pairs with a packed panel of bf16 pairs.", name, mr))
	pairs := Load(Param("pairs"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(Imm(1), lda)
	r := loadRows(a, lda, mr)
	acc := make([][]VecPhysical, mr)
	for i := range acc {
		acc[i] = zmm[i*nv : (i+1)*nv]
		for _, z := range acc[i] {
			VPXORD(z, z, z)
		}
	}
	unrolled(pairs, b, r, nv*64, func(u int) {
		for j := range nv {
			VMOVUPS(Mem{Base: b, Disp: (u*nv + j) * 64}, zmm[24+j])
		}
		for i := range mr {
			x := 27 + i%5
			VPBROADCASTD(r.mem(i, u*4), zmm[x])
			for j := range nv {
				dpbf16(i*nv+j, 24+j, x)
			}
		}
	})
	storeTile(avx512, acc)
}

// toBF16 rounds by integer arithmetic and not by VCVTNEPS2BF16, which takes denormals for zero: every implementation
// gives the same bits. A NaN stays one.
func (v vector) toBF16() {
	TEXT("toBF16"+v.name, NOSPLIT, "func(n int, dst *uint16, x *float32)")
	Pragma("noescape")
	Doc("toBF16" + v.name + " rounds to bf16, nearest even; n is a multiple of 16.")
	n := Load(Param("n"), GP64())
	d, x := ptr("dst"), ptr("x")
	one, bias, quiet := v.constant("bfOne", 1), v.constant("bfBias", 0x7fff), v.constant("bfQuiet", 0x400000)
	const unordered = 3
	round := func(m Mem) VecVirtual {
		a, b := v.reg(), v.reg()
		VMOVUPS(m, a)
		VPSRLD(Imm(16), a, b)
		if v.lanes == 16 {
			VPANDD(one, b, b)
		} else {
			VPAND(one, b, b)
		}
		VPADDD(bias, b, b)
		VPADDD(b, a, b)
		if v.lanes == 16 {
			k := K()
			VCMPPS(Imm(unordered), a, a, k)
			VPORD(quiet, a, k, b)
		} else {
			nan, q := v.reg(), v.reg()
			VCMPPS(Imm(unordered), a, a, nan)
			VPOR(quiet, a, q)
			VBLENDVPS(nan, q, b, b)
		}
		VPSRLD(Imm(16), b, b)
		return b
	}
	Label("loop")
	CMPQ(n, Imm(16))
	JL(LabelRef("done"))
	a := round(Mem{Base: x})
	if v.lanes == 16 {
		VPMOVDW(a, Mem{Base: d})
	} else {
		b := round(Mem{Base: x, Disp: 32})
		VPACKUSDW(b, a, a)
		VPERMQ(Imm(0xd8), a, a)
		VMOVUPS(a, Mem{Base: d})
	}
	ADDQ(Imm(64), x)
	ADDQ(Imm(32), d)
	SUBQ(Imm(16), n)
	JMP(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}

func (v vector) fromBF16() {
	TEXT("fromBF16"+v.name, NOSPLIT, "func(n int, dst *float32, w *uint16)")
	Pragma("noescape")
	Doc("fromBF16" + v.name + " widens bf16; n is a multiple of the lanes.")
	d, w := ptr("dst"), ptr("w")
	t := v.reg()
	v.loop([]Register{d, w}, []int{4, 2}, func() {
		v.widen(Mem{Base: w}, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

// toF16 and fromF16 are the processor's own conversions.
func (v vector) toF16() {
	TEXT("toF16"+v.name, NOSPLIT, "func(n int, dst *uint16, x *float32)")
	Pragma("noescape")
	Doc("toF16" + v.name + " rounds to IEEE halves, nearest even; n is a multiple of the lanes.")
	d, x := ptr("dst"), ptr("x")
	t := v.reg()
	v.loop([]Register{d, x}, []int{2, 4}, func() {
		VMOVUPS(Mem{Base: x}, t)
		VCVTPS2PH(Imm(0), t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) fromF16() {
	TEXT("fromF16"+v.name, NOSPLIT, "func(n int, dst *float32, w *uint16)")
	Pragma("noescape")
	Doc("fromF16" + v.name + " widens IEEE halves; n is a multiple of the lanes.")
	d, w := ptr("dst"), ptr("w")
	t := v.reg()
	v.loop([]Register{d, w}, []int{4, 2}, func() {
		VCVTPH2PS(Mem{Base: w}, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}
