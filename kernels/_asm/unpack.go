package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// pairRow is the size of a row of a packed panel of bf16 pairs.
const pairRow = 48 * 4

// unpacker turns vectors of codes, four of each of 16 rows, into pairs of bf16.
type unpacker struct {
	d, m                 VecVirtual // of the rows
	low, one, bias, high VecVirtual
	code, a, b, t        VecVirtual
	nibble               VecVirtual // nil for codes of 8 bits
}

func newUnpacker(bits int) *unpacker {
	u := &unpacker{
		d: ZMM(), m: ZMM(), code: ZMM(), a: ZMM(), b: ZMM(), t: ZMM(),
		low: avx512.constant("unpackLow", 0xff), one: avx512.constant("unpackOne", 1),
		bias: avx512.constant("unpackBias", 0x7fff), high: avx512.constant("unpackHigh", 0xffff0000),
	}
	if bits == 4 {
		u.nibble = avx512.constant("unpackNibble", 0x0f0f0f0f)
	}
	return u
}

func (u *unpacker) scales(at Register) {
	VCVTPH2PS(Mem{Base: at}, u.d)
	VCVTPH2PS(Mem{Base: at, Disp: 2 * codeRows}, u.m)
}

// value writes d·code + m of the bytes j of u.code, rounded to bf16 with what was below it left.
func (u *unpacker) value(j int, to VecVirtual) {
	switch j {
	case 0:
		VPANDD(u.low, u.code, to)
	case 3:
		VPSRLD(Imm(24), u.code, to)
	default:
		VPSRLD(Imm(uint64(8*j)), u.code, to)
		VPANDD(u.low, to, to)
	}
	VCVTDQ2PS(to, to)
	VFMADD213PS(u.m, u.d, to)
	VPSRLD(Imm(16), to, u.t)
	VPANDD(u.one, u.t, u.t)
	VPADDD(u.bias, to, to)
	VPADDD(u.t, to, to)
}

// pair writes the bytes 2·j and 2·j+1 of u.code as bf16, the latter above the former.
func (u *unpacker) pair(j int, to VecVirtual) {
	u.value(2*j, u.a)
	u.value(2*j+1, to)
	VPSRLD(Imm(16), u.a, u.a)
	VPANDD(u.high, to, to)
	VPORD(u.a, to, to)
}

// table is several words of constants in memory.
func table(name string, words ...uint64) Mem {
	g := GLOBL(name, RODATA|NOPTR)
	for i, x := range words {
		DATA(8*i, U64(x))
	}
	return g
}

// unpackCodes writes blocks of a group as 16 rows of pairs each, as a panel of W·Xᵀ has them.
func unpackCodes(bits int) {
	TEXT(fmt.Sprintf("unpackCodes%dAVX512", bits), NOSPLIT, "func(blocks int, w *byte, dst *uint16)")
	Pragma("noescape")
	Doc(fmt.Sprintf("unpackCodes%dAVX512 writes blocks of 16 rows of %d-bit codes as bf16, pairs along the rows side by side.", bits, bits))
	blocks, w, dst := Load(Param("blocks"), GP64()), ptr("w"), ptr("dst")
	u := newUnpacker(bits)
	Label("loop")
	u.scales(w)
	for i := range 8 {
		at := Mem{Base: w, Disp: 4*codeRows + i*64}
		switch {
		case bits == 8:
			VMOVDQU32(at, u.code)
		case i < 4:
			VPANDD(at, u.nibble, u.code)
		default:
			at.Disp -= 4 * 64
			VMOVDQU32(at, u.code)
			VPSRLW(Imm(4), u.code, u.code)
			VPANDD(u.nibble, u.code, u.code)
		}
		for j := range 2 {
			u.pair(j, u.b)
			VMOVDQU32(u.b, Mem{Base: dst, Disp: (2*i + j) * pairRow})
		}
	}
	ADDQ(U32(uint32(4*codeRows+codeRows*32*bits/8)), w)
	ADDQ(U32(16*pairRow), dst)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// unpackColumns writes 16 columns of groups as 8 rows of pairs each, as a panel of X·W has them: scales and codes point at
// a group's block and at the columns' codes in it, the next group is stride bytes on, and codes of 4 bits are shifted first.
func unpackColumns(bits int) {
	TEXT(fmt.Sprintf("unpackColumns%dAVX512", bits), NOSPLIT, "func(groups int, scales, codes *byte, stride, shift int, dst *uint16)")
	Pragma("noescape")
	Doc(fmt.Sprintf("unpackColumns%dAVX512 writes 16 columns of groups of %d-bit codes as bf16, pairs of rows side by side.", bits, bits))
	groups, scales, codes, dst := Load(Param("groups"), GP64()), ptr("scales"), ptr("codes"), ptr("dst")
	stride, shift := Load(Param("stride"), GP64()), Load(Param("shift"), GP64())
	u := newUnpacker(bits)
	count := XMM()
	VMOVQ(shift, count)
	turn, even, odd := ZMM(), ZMM(), ZMM()
	const pairs = 0x0706030205040100 // of the words of a quadword: 0, 2, 1, 3
	const upper = 0x0808080808080808
	VMOVDQU64(table(fmt.Sprintf("unpackTurn%d", bits), pairs, pairs+upper, pairs, pairs+upper, pairs, pairs+upper, pairs, pairs+upper), turn)
	VMOVDQU64(table(fmt.Sprintf("unpackEven%d", bits), 0, 2, 4, 6, 8, 10, 12, 14), even)
	VMOVDQU64(table(fmt.Sprintf("unpackOdd%d", bits), 1, 3, 5, 7, 9, 11, 13, 15), odd)
	rows := make([]VecVirtual, 8)
	for i := range rows {
		rows[i] = ZMM()
	}
	Label("loop")
	u.scales(scales)
	for i := range 4 {
		VMOVDQU32(Mem{Base: codes, Disp: 64 * i}, u.code)
		if bits == 4 {
			VPSRLW(count, u.code, u.code)
			VPANDD(u.nibble, u.code, u.code)
		}
		for j := range 2 {
			u.pair(j, rows[2*i+j])
			VPSHUFB(turn, rows[2*i+j], rows[2*i+j])
		}
	}
	// Now rows[k/2] has a quadword for every two rows of W: both at k, then both at k+1. Turn the 8 × 8 quadwords.
	for bit := 1; bit < 8; bit *= 2 {
		for i := range rows {
			if i&bit == 0 {
				a, b := rows[i], rows[i+bit]
				VMOVDQA64(a, u.a)
				VPERMT2Q(b, even, a)
				VPERMT2Q(b, odd, u.a)
				VMOVDQA64(u.a, b)
			}
		}
	}
	for i, r := range rows {
		VMOVDQU32(r, Mem{Base: dst, Disp: i * pairRow})
	}
	ADDQ(stride, scales)
	ADDQ(stride, codes)
	ADDQ(U32(8*pairRow), dst)
	DECQ(groups)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
