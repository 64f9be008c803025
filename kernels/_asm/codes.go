package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// codeRows is the size of a group of package kernels: the rows of codes laid side by side.
const codeRows = 16

// quantised is one of the layouts that package kernels has for blocks of 32 values of x.
type quantised struct {
	name  string
	bytes int // of a block
	words int // where the scale stands, and after it the sum
}

// In 16 bits: high bytes, low bytes, the scale and the scale times the sum. In 8 bits: the high bytes alone, then the same.
// Biased: the high bytes, 256 times the scale, and -128 times their sum as a whole number.
var (
	wide   = quantised{"", 72, 64}
	narrow = quantised{"High", 40, 32}
	biased = quantised{"Biased", 40, 32}
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
	// Constants are read where they are needed: the registers go to sums.
	mask := word("codeMask", 0x0f0f0f0f)
	d, m := ZMM(), ZMM()
	code := make([]VecVirtual, 8)
	for i := range code {
		code[i] = ZMM()
	}
	// The sums of as many rows at a time are independent as hide the latency of a dot product.
	parts, together := 2, 2
	if high {
		parts, together = 1, 4
	}
	together = min(together, mr)
	sums := make([][]VecVirtual, together)
	for i := range sums {
		for range parts {
			sums[i] = append(sums[i], ZMM())
		}
	}
	s := []VecVirtual{ZMM(), ZMM()}
	layout := wide
	if high {
		layout = narrow
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
			VPANDD_BCST(mask, code[i], code[i])
			VPANDD_BCST(mask, code[i+4], code[i+4])
		}
	}
	if high {
		VMULPS_BCST(word("codeWhole", math.Float32bits(256)), d, d)
	}
	for row := 0; row < mr; row += together {
		for _, sum := range sums {
			for _, v := range sum {
				VPXORD(v, v, v)
			}
		}
		for j, c := range code {
			for i, sum := range sums {
				for part, v := range sum {
					VPDPBUSD_BCST(r.mem(row+i, 32*part+4*j), c, v)
				}
			}
		}
		for i, sum := range sums {
			if !high {
				VPSLLD(Imm(8), sum[0], sum[0])
				VPADDD(sum[1], sum[0], sum[0])
			}
			VCVTDQ2PS(sum[0], sum[0])
			VMULPS_BCST(r.mem(row+i, layout.words), d, s[i%2])
			VFMADD231PS(s[i%2], sum[0], acc[row+i][0])
			VFMADD231PS_BCST(r.mem(row+i, layout.words+4), m, acc[row+i][0])
		}
	}
	ADDQ(U32(uint32(4*codeRows+codeRows*32*bits/8)), w)
	r.advance(layout.bytes)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	storeTile(avx512, acc)
}

// quantise writes blocks of 32 values in a layout.
func (l quantised) quantise() {
	name := "quantise" + l.name + "AVX512"
	TEXT(name, NOSPLIT, "func(blocks int, x *float32, dst *byte)")
	Pragma("noescape")
	Doc(name + " quantises blocks of 32 values.")
	const most = 127*256 + 127
	n, x, dst := Load(Param("blocks"), GP64()), ptr("x"), ptr("dst")
	abs := avx512.constant("codeAbs", 0x7fffffff)
	half := avx512.constant("codeHalf", 128)
	scalar := func(name string, f float32) VecVirtual {
		v := XMM()
		VMOVSS(word(name, math.Float32bits(f)), v)
		return v
	}
	least, top := scalar("codeLeast", 1e-30), scalar("codeMost", most)
	share := scalar("codeShare", 1.0/most)
	if l == biased {
		share = scalar("codeShareHigh", 256.0/most)
	}
	v, q := []VecVirtual{ZMM(), ZMM()}, []VecVirtual{ZMM(), ZMM()}
	Label("loop")
	VMOVUPS(Mem{Base: x}, v[0])
	VMOVUPS(Mem{Base: x, Disp: 64}, v[1])
	big, t := ZMM(), ZMM()
	VPANDD(abs, v[0], big)
	VPANDD(abs, v[1], t)
	VMAXPS(t, big, big)
	h, y, g := avx512.largest(big), YMM(), XMM()
	VMAXSS(least, h, h)
	inv, s := ZMM(), XMM()
	VDIVSS(h, top, inv.AsX())
	VBROADCASTSS(inv.AsX(), inv)
	VMULSS(share, h, s)
	for i := range v {
		high := ZMM()
		VMULPS(inv, v[i], q[i])
		VCVTPS2DQ(q[i], q[i])
		VPADDD(half, q[i], high)
		VPSRAD(Imm(8), high, high)
		VPMOVDB(high, Mem{Base: dst, Disp: 16 * i})
		switch l {
		case wide:
			low := ZMM()
			VPSLLD(Imm(8), high, high)
			VPSUBD(high, q[i], low)
			VPMOVDB(low, Mem{Base: dst, Disp: 32 + 16*i})
		case biased:
			q[i] = high
		}
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
	VMOVSS(s, Mem{Base: dst, Disp: l.words})
	if l == biased {
		VPSLLD(Imm(7), g, g)
		zero := XMM()
		VPXOR(zero, zero, zero)
		VPSUBD(g, zero, g)
	} else {
		VCVTDQ2PS(g, g)
		VMULSS(s, g, g)
	}
	VMOVSS(g, Mem{Base: dst, Disp: l.words + 4})
	ADDQ(Imm(128), x)
	ADDQ(Imm(uint64(l.bytes)), dst)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
