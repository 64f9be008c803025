package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Layouts of package kernels: a block of 32 quantised values, and of 16 rows of codes.
const (
	quantisedBytes = 2*32 + 8
	codeRows       = 16
)

// codes multiplies mr rows of quantised x, lda bytes apart, with one group of 16 rows of codes of 4 or 8 bits:
// y = d·s·(256·Σ code·high + Σ code·low) + m·(s·Σ x). high is for high parts alone, without Σ code·low.
func codes(bits, mr int, high bool) {
	name, what := fmt.Sprintf("codes%dx%dVNNI", bits, mr), "quantised rows"
	if high {
		name, what = fmt.Sprintf("codes%dx%dHighVNNI", bits, mr), "quantised rows' high parts"
	}
	TEXT(name, NOSPLIT, "func(blocks int, w, a *byte, lda int, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d %s with a group of %d-bit codes.", name, mr, what, bits))
	blocks := Load(Param("blocks"), GP64())
	w, a, lda := ptr("w"), ptr("a"), Load(Param("lda"), GP64())
	r := loadRows(a, lda, mr)
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		acc[i] = []VecVirtual{avx512.zero()}
	}
	var mask VecVirtual
	if bits == 4 {
		mask = avx512.constant("codeMask", 0x0f0f0f0f)
	}
	var whole VecVirtual
	if high {
		whole = avx512.constant("codeWhole", math.Float32bits(256))
	}
	d, m := ZMM(), ZMM()
	code := make([]VecVirtual, 8)
	for i := range code {
		code[i] = ZMM()
	}
	sums := [2][3]VecVirtual{{ZMM(), ZMM()}, {ZMM(), ZMM()}}
	if !high {
		sums[0][2], sums[1][2] = ZMM(), ZMM()
	}
	Label("loop")
	VCVTPH2PS(Mem{Base: w}, d)
	VCVTPH2PS(Mem{Base: w, Disp: 2 * codeRows}, m)
	for i := range 8 {
		at := Mem{Base: w, Disp: 4*codeRows + i*64}
		if bits == 8 {
			VMOVDQU32(at, code[i])
		} else if i < 4 {
			VMOVDQU32(at, code[i])
			VPSRLW(Imm(4), code[i], code[i+4])
			VPANDD(mask, code[i], code[i])
			VPANDD(mask, code[i+4], code[i+4])
		}
	}
	if high {
		VMULPS(whole, d, d)
	}
	for i := range mr {
		sum, s, low := sums[i%2][0], sums[i%2][1], sums[i%2][2]
		VPXORD(sum, sum, sum)
		if !high {
			VPXORD(low, low, low)
		}
		for j, c := range code {
			VPDPBUSD_BCST(r.mem(i, 4*j), c, sum)
			if !high {
				VPDPBUSD_BCST(r.mem(i, 32+4*j), c, low)
			}
		}
		if !high {
			VPSLLD(Imm(8), sum, sum)
			VPADDD(low, sum, sum)
		}
		VCVTDQ2PS(sum, sum)
		VMULPS_BCST(r.mem(i, 64), d, s)
		VFMADD231PS(s, sum, acc[i][0])
		VFMADD231PS_BCST(r.mem(i, 68), m, acc[i][0])
	}
	ADDQ(U32(uint32(4*codeRows+codeRows*32*bits/8)), w)
	r.advance(quantisedBytes)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	storeTile(avx512, acc)
}

// quantise writes blocks of 32 values as 32 high and 32 low bytes, the scale, and the scale times the sum.
func quantise() {
	TEXT("quantiseAVX512", NOSPLIT, "func(blocks int, x *float32, dst *byte)")
	Pragma("noescape")
	Doc("quantiseAVX512 quantises blocks of 32 values.")
	const most = 127*256 + 127
	n, x, dst := Load(Param("blocks"), GP64()), ptr("x"), ptr("dst")
	abs := avx512.constant("codeAbs", 0x7fffffff)
	half := avx512.constant("codeHalf", 128)
	scalar := func(name string, f float32) VecVirtual {
		v := XMM()
		VMOVSS(ConstData(name, U32(math.Float32bits(f))), v)
		return v
	}
	least, top, share := scalar("codeLeast", 1e-30), scalar("codeMost", most), scalar("codeShare", 1.0/most)
	v, q := []VecVirtual{ZMM(), ZMM()}, []VecVirtual{ZMM(), ZMM()}
	Label("loop")
	VMOVUPS(Mem{Base: x}, v[0])
	VMOVUPS(Mem{Base: x, Disp: 64}, v[1])
	big, t := ZMM(), ZMM()
	VPANDD(abs, v[0], big)
	VPANDD(abs, v[1], t)
	VMAXPS(t, big, big)
	y := YMM()
	VEXTRACTF64X4(Imm(1), big, y)
	VMAXPS(y, big.AsY(), y)
	h, g := XMM(), XMM()
	VEXTRACTF128(Imm(1), y, h)
	VMAXPS(y.AsX(), h, h)
	VPERMILPS(Imm(0x4e), h, g)
	VMAXPS(g, h, h)
	VPERMILPS(Imm(0xb1), h, g)
	VMAXPS(g, h, h)
	VMAXSS(least, h, h)
	inv, s := ZMM(), XMM()
	VDIVSS(h, top, inv.AsX())
	VBROADCASTSS(inv.AsX(), inv)
	VMULSS(share, h, s)
	for i := range v {
		high, low := ZMM(), ZMM()
		VMULPS(inv, v[i], q[i])
		VCVTPS2DQ(q[i], q[i])
		VPADDD(half, q[i], high)
		VPSRAD(Imm(8), high, high)
		VPMOVDB(high, Mem{Base: dst, Disp: 16 * i})
		VPSLLD(Imm(8), high, high)
		VPSUBD(high, q[i], low)
		VPMOVDB(low, Mem{Base: dst, Disp: 32 + 16*i})
	}
	VPADDD(q[0], q[1], q[0])
	VEXTRACTI64X4(Imm(1), q[0], y)
	VPADDD(y, q[0].AsY(), y)
	VEXTRACTI128(Imm(1), y, g)
	VPADDD(y.AsX(), g, g)
	VPHADDD(g, g, g)
	VPHADDD(g, g, g)
	nan := K()
	const unordered = 3
	VCMPPS(Imm(unordered), v[0], v[1], nan)
	KTESTW(nan, nan)
	JZ(LabelRef("number"))
	VPTERNLOGD(Imm(0xff), s, s, s) // all ones, which is NaN
	Label("number")
	VMOVSS(s, Mem{Base: dst, Disp: 64})
	VCVTDQ2PS(g, g)
	VMULSS(s, g, g)
	VMOVSS(g, Mem{Base: dst, Disp: 68})
	ADDQ(Imm(128), x)
	ADDQ(Imm(quantisedBytes), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
