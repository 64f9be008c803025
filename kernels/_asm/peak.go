package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func (v vector) fmaPeak() {
	TEXT("fmaPeak"+v.name, NOSPLIT, "func(n int)")
	Pragma("noescape")
	Doc("fmaPeak" + v.name + " runs n times 12 independent multiply-adds of one vector.")
	n := Load(Param("n"), GP64())
	acc := make([]Op, 12)
	for i := range acc {
		acc[i] = v.zero()
	}
	x, y := v.zero(), v.zero()
	Label("loop")
	for i := range acc {
		VFMADD231PS(x, y, acc[i])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func peakBF16() {
	TEXT("peakBF16", NOSPLIT, "func(n int)")
	Pragma("noescape")
	Doc("peakBF16 runs n times 24 independent VDPBF16PS.")
	n := Load(Param("n"), GP64())
	for _, z := range zmm[:26] {
		VPXORD(z, z, z)
	}
	Label("loop")
	for i := range 24 {
		dpbf16(i, 24, 25)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func peakInt8() {
	TEXT("peakVNNI", NOSPLIT, "func(n int)")
	Pragma("noescape")
	Doc("peakVNNI runs n times 12 independent VPDPBUSD.")
	n := Load(Param("n"), GP64())
	acc := make([]VecVirtual, 12)
	for i := range acc {
		acc[i] = avx512.zero()
	}
	x, y := avx512.zero(), avx512.zero()
	Label("loop")
	for i := range acc {
		VPDPBUSD(x, y, acc[i])
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func readSum() {
	TEXT("readSum", NOSPLIT, "func(p *byte, n int)")
	Pragma("noescape")
	Doc("readSum reads n blocks of 512 bytes.")
	p := ptr("p")
	n := Load(Param("n"), GP64())
	acc := make([]Op, 8)
	for i := range acc {
		acc[i] = avx2.zero()
	}
	Label("loop")
	for i := range 16 {
		VPXOR(Mem{Base: p, Disp: i * 32}, acc[i%8], acc[i%8])
	}
	ADDQ(U32(512), p)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
