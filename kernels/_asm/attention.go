package main

import (
	"fmt"
	"sync"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// softmaxGrad makes probabilities and the gradient of scores from scores and the gradient of probabilities, in place.
func (v vector) softmaxGrad() {
	TEXT("softmaxGrad"+v.name, NOSPLIT, "func(n int, s, d *float32, factor, lse, delta float32)")
	Pragma("noescape")
	Doc("softmaxGrad" + v.name + " writes p = exp(factor·s - lse) to s and factor·p·(d - delta) to d; n is a multiple of the lanes.")
	e := v.expo()
	s, d := ptr("s"), ptr("d")
	f, lse, delta := v.param("factor"), v.param("lse"), v.param("delta")
	p, t := v.reg(), v.reg()
	v.loop([]Register{s, d}, []int{4, 4}, func() {
		VMOVUPS(Mem{Base: s}, p)
		VFMSUB213PS(lse, f, p)
		e.of(p)
		VMOVUPS(p, Mem{Base: s})
		VMOVUPS(Mem{Base: d}, t)
		VSUBPS(delta, t, t)
		VMULPS(p, t, t)
		VMULPS(f, t, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

// attentionBF16 writes what attention in bf16 needs beside the products.
func attentionBF16() {
	for mr := 1; mr <= 6; mr++ {
		tileBF16(mr, 4)
		tileBF16(mr, 1)
	}
	avx512.expRows(true)
	softmaxGradBF16()
	pairBF16()
}

// tileBF16 is tile over pairs of bf16, with strides in pairs: a pair of A is one element (i, k), B's rows are pairs too.
func tileBF16(mr, nv int) {
	name := fmt.Sprintf("tile%dx%dBF16", mr, nv)
	TEXT(name, NOSPLIT, "func(k int, a *uint16, ars, acs int, b *uint16, ldb int, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d rows of pairs of a with %d vectors of columns of b; k is positive.", name, mr, nv))
	k, a, ars, acs := Load(Param("k"), GP64()), ptr("a"), Load(Param("ars"), GP64()), Load(Param("acs"), GP64())
	b, ldb := ptr("b"), Load(Param("ldb"), GP64())
	for _, s := range []Register{ars, acs, ldb} {
		SHLQ(Imm(2), s)
	}
	r := loadRows(a, ars, mr)
	acc := make([][]VecPhysical, mr)
	for i := range acc {
		acc[i] = zmm[i*nv : (i+1)*nv]
		for _, z := range acc[i] {
			VPXORD(z, z, z)
		}
	}
	Label("loop")
	for j := range nv {
		VMOVUPS(Mem{Base: b, Disp: j * 64}, zmm[24+j])
	}
	for i := range mr {
		x := 28 + i%4
		VPBROADCASTD(r.mem(i, 0), zmm[x])
		for j := range nv {
			dpbf16(i*nv+j, 24+j, x)
		}
	}
	ADDQ(acs, a)
	if r.a4 != nil {
		ADDQ(acs, r.a4)
	}
	ADDQ(ldb, b)
	DECQ(k)
	JNZ(LabelRef("loop"))
	storeTile(avx512, acc)
}

// interleave returns the order of words that makes pairs of the two halves of a vector.
var interleave = sync.OnceValue(func() Mem {
	m := GLOBL("interleave", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)|uint32(i+16)<<16))
	}
	return m
})

// rounded leaves x, rounded to bf16, in the low half of Z30 and y in its high half, through Z28 and Z29.
func rounded(x, y VecVirtual) VecPhysical {
	VMOVAPS(x, Z28)
	VMOVAPS(y, Z29)
	cvtne2(30, 29, 28)
	return Z30
}

// rowByRow runs body for every vector of n elements of each row of x, rows ld apart, and begin and end around a row.
func (v vector) rowByRow(begin, body, end func(x Register)) {
	rows, n, ld, x := Load(Param("rows"), GP64()), Load(Param("n"), GP64()), Load(Param("ld"), GP64()), ptr("x")
	SHLQ(Imm(2), ld)
	Label("row")
	begin(x)
	at, left := GP64(), GP64()
	MOVQ(x, at)
	MOVQ(n, left)
	Label("loop")
	body(at)
	ADDQ(Imm(uint64(v.bytes())), at)
	SUBQ(Imm(uint64(v.lanes)), left)
	JNZ(LabelRef("loop"))
	end(x)
	ADDQ(ld, x)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// sumAnywhere is sum with instructions that reach all 32 registers, where there are so many.
func (v vector) sumAnywhere(r VecVirtual) VecVirtual {
	if v.regs == 16 {
		return v.sum(r)
	}
	y, x, t := YMM(), XMM(), XMM()
	VEXTRACTF64X4(Imm(1), r, y)
	VADDPS(y, r.AsY(), y)
	VEXTRACTF32X4(Imm(1), y, x)
	VADDPS(y.AsX(), x, x)
	VPERMILPS(Imm(0xb1), x, t)
	VADDPS(t, x, x)
	VPERMILPS(Imm(0x4e), x, t)
	VADDPS(t, x, x)
	return x
}

func (v vector) maxRows() {
	TEXT("maxRows"+v.name, NOSPLIT, "func(rows, n int, x *float32, ld int, top *float32)")
	Pragma("noescape")
	Doc("maxRows" + v.name + " writes the largest element of each row of n, a positive multiple of the lanes.")
	top, m := ptr("top"), v.reg()
	v.rowByRow(
		func(x Register) { VMOVUPS(Mem{Base: x}, m) },
		func(x Register) { VMAXPS(Mem{Base: x}, m, m) },
		func(Register) {
			VMOVSS(v.largest(m), Mem{Base: top})
			ADDQ(Imm(4), top)
		})
}

// expRows writes exponentials in place or, in bf16, to rows of dst that stand ld apart as well.
func (v vector) expRows(half bool) {
	name, to := "expRows"+v.name, ""
	if half {
		name, to = "expRowsBF16", "dst *uint16, "
	}
	TEXT(name, NOSPLIT, "func(rows, n int, "+to+"x *float32, ld int, factor float32, top, sum *float32)")
	Pragma("noescape")
	Doc(name + " writes exp(factor·x - top) and its sum, before any rounding, for each row of n, a positive multiple of the lanes.")
	e := v.expo()
	f, shift, acc, t := v.param("factor"), v.reg(), v.reg(), v.reg()
	top, sum := ptr("top"), ptr("sum")
	var dst, d, ld Register
	if half {
		dst, d, ld = ptr("dst"), GP64(), Load(Param("ld"), GP64())
		SHLQ(Imm(1), ld)
	}
	v.rowByRow(
		func(Register) {
			VBROADCASTSS(Mem{Base: top}, shift)
			ADDQ(Imm(4), top)
			v.clear(acc)
			if half {
				MOVQ(dst, d)
			}
		},
		func(x Register) {
			VMOVUPS(Mem{Base: x}, t)
			VFMSUB213PS(shift, f, t)
			e.of(t)
			VADDPS(t, acc, acc)
			if half {
				VMOVUPS(rounded(t, t).AsY(), Mem{Base: d})
				ADDQ(Imm(32), d)
			} else {
				VMOVUPS(t, Mem{Base: x})
			}
		},
		func(Register) {
			VMOVSS(v.sumAnywhere(acc), Mem{Base: sum})
			ADDQ(Imm(4), sum)
			if half {
				ADDQ(ld, dst)
			}
		})
}

func softmaxGradBF16() {
	TEXT("softmaxGradBF16", NOSPLIT, "func(n int, s, d *float32, ld int, p, ds, rows *uint16, factor float32, lse, delta *float32)")
	Pragma("noescape")
	Doc("softmaxGradBF16 is softmaxGrad of two rows, ld apart, to bf16: p and ds get pairs of the rows, rows the second result row by row, likewise ld apart; n is a multiple of 16.")
	v := avx512
	e := v.expo()
	s, d, p, ds, rows := ptr("s"), ptr("d"), ptr("p"), ptr("ds"), ptr("rows")
	ld := Load(Param("ld"), GP64())
	f, order := v.param("factor"), v.reg()
	VMOVDQU32(interleave(), order)
	lseAt, deltaAt := ptr("lse"), ptr("delta")
	var lse, delta [2]VecVirtual
	for i := range lse {
		lse[i], delta[i] = v.reg(), v.reg()
		VBROADCASTSS(Mem{Base: lseAt, Disp: 4 * i}, lse[i])
		VBROADCASTSS(Mem{Base: deltaAt, Disp: 4 * i}, delta[i])
	}
	v.loop([]Register{s, d, p, ds, rows}, []int{4, 4, 4, 4, 2}, func() {
		var x, t [2]VecVirtual
		for i := range x {
			row := func(base Register, scale uint8) Mem {
				if i == 0 {
					return Mem{Base: base}
				}
				return Mem{Base: base, Index: ld, Scale: scale}
			}
			x[i], t[i] = v.reg(), v.reg()
			VMOVUPS(row(s, 4), x[i])
			VFMSUB213PS(lse[i], f, x[i])
			e.of(x[i])
			VMOVUPS(row(d, 4), t[i])
			VSUBPS(delta[i], t[i], t[i])
			VMULPS(x[i], t[i], t[i])
			VMULPS(f, t[i], t[i])
		}
		pair := v.reg()
		VPERMW(rounded(x[0], x[1]), order, pair)
		VMOVDQU32(pair, Mem{Base: p})
		both := rounded(t[0], t[1])
		VMOVUPS(both.AsY(), Mem{Base: rows})
		VEXTRACTI64X4(Imm(1), both, Mem{Base: rows, Index: ld, Scale: 2})
		pair = v.reg()
		VPERMW(both, order, pair)
		VMOVDQU32(pair, Mem{Base: ds})
	})
	VZEROUPPER()
	RET()
}

func pairBF16() {
	TEXT("pairBF16", NOSPLIT, "func(n int, dst *uint16, x, y *float32)")
	Pragma("noescape")
	Doc("pairBF16 writes pairs of x and y in bf16; n is a multiple of 16.")
	v := avx512
	order := v.reg()
	VMOVDQU32(interleave(), order)
	d, x, y := ptr("dst"), ptr("x"), ptr("y")
	a, b, pair := v.reg(), v.reg(), v.reg()
	v.loop([]Register{d, x, y}, []int{4, 4, 4}, func() {
		VMOVUPS(Mem{Base: x}, a)
		VMOVUPS(Mem{Base: y}, b)
		VPERMW(rounded(a, b), order, pair)
		VMOVDQU32(pair, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}
