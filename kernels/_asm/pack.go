package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// transpose writes eight rows as columns of a panel: squares of 8×8 words turn within registers.
func transpose() {
	TEXT("transpose8AVX2", NOSPLIT, "func(n int, dst, src *uint32, ld int)")
	Pragma("noescape")
	Doc("transpose8AVX2 writes dst[i·48 + r] = src[r·ld + i] for r < 8 and i < n, a multiple of 8.")
	n, dst, src, ld := Load(Param("n"), GP64()), ptr("dst"), ptr("src"), Load(Param("ld"), GP64())
	SHLQ(Imm(2), ld)
	rows := loadRows(src, ld, 8)
	Label("loop")
	CMPQ(n, Imm(8))
	JL(LabelRef("done"))
	var a, b [8]VecVirtual
	for i := range a {
		a[i] = YMM()
		VMOVUPS(rows.mem(i, 0), a[i])
	}
	for i := 0; i < 8; i += 2 { // words of neighbouring rows side by side
		b[i], b[i+1] = YMM(), YMM()
		VUNPCKLPS(a[i+1], a[i], b[i])
		VUNPCKHPS(a[i+1], a[i], b[i+1])
	}
	for i := 0; i < 8; i += 4 { // four rows: columns 0 | 4, 1 | 5, 2 | 6, 3 | 7
		for j := range 2 {
			a[i+2*j], a[i+2*j+1] = YMM(), YMM()
			VSHUFPS(Imm(0x44), b[i+j+2], b[i+j], a[i+2*j])
			VSHUFPS(Imm(0xee), b[i+j+2], b[i+j], a[i+2*j+1])
		}
	}
	for i := range 4 {
		lo, hi := YMM(), YMM()
		VPERM2F128(Imm(0x20), a[i+4], a[i], lo)
		VPERM2F128(Imm(0x31), a[i+4], a[i], hi)
		VMOVUPS(lo, Mem{Base: dst, Disp: i * panel * 4})
		VMOVUPS(hi, Mem{Base: dst, Disp: (i + 4) * panel * 4})
	}
	rows.advance(32)
	ADDQ(U32(8*panel*4), dst)
	SUBQ(Imm(8), n)
	JMP(LabelRef("loop"))
	Label("done")
	VZEROUPPER()
	RET()
}
