package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// expo computes e^x in place: x = n·ln 2 + r, a polynomial for e^r, n added to the exponent. n is rounded by adding 1.5·2²³.
// At and below -88 the exponent field becomes zero and so the result exactly 0; from 127.5·ln 2 on it becomes that of
// infinity.
type expo struct {
	v                                     vector
	lo, hi, log2e, magic, ln2h, ln2l, one VecVirtual
	p                                     func(i int) VecVirtual // coefficients of the polynomial
}

var expCoefficients = []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1}

func (v vector) expo() *expo {
	e := &expo{v: v}
	e.lo, e.hi = v.float("expLo", -88), v.float("expHi", 89)
	e.log2e, e.magic = v.float("expLog2e", math.Log2E), v.float("expMagic", 12582912)
	e.ln2h, e.ln2l = v.float("expLn2h", 0.693359375), v.float("expLn2l", -2.12194440e-4)
	e.one = v.float("expOne", 1)
	e.p = func(i int) VecVirtual { return v.float(fmt.Sprintf("expP%d", i), expCoefficients[i]) }
	if v.regs == 32 { // enough to keep them
		var kept []VecVirtual
		for i := range expCoefficients {
			kept = append(kept, e.p(i))
		}
		e.p = func(i int) VecVirtual { return kept[i] }
	}
	return e
}

// of replaces x by e^x.
func (e *expo) of(x VecVirtual) {
	t, y := e.v.reg(), e.v.reg()
	VMAXPS(x, e.lo, x) // in this order a NaN stays one
	VMINPS(x, e.hi, x)
	VMOVAPS(e.magic, t)
	VFMADD231PS(e.log2e, x, t) // n in the low bits
	VSUBPS(e.magic, t, y)      // n
	VFNMADD231PS(e.ln2h, y, x)
	VFNMADD231PS(e.ln2l, y, x) // r
	VMOVAPS(e.p(0), y)
	for i := range expCoefficients[1:] {
		VFMADD213PS(e.p(i+1), x, y)
	}
	VFMADD213PS(e.one, x, y) // P·r+1
	VFMADD213PS(e.one, x, y) // (P·r+1)·r+1
	VPSLLD(Imm(23), t, t)
	VPADDD(e.one, t, t) // the bits of 1.0 are 127<<23
	VMULPS(t, y, x)
}

func (v vector) expSum() {
	TEXT("expSum"+v.name, NOSPLIT, "func(n int, dst, x *float32, shift float32) float32")
	Pragma("noescape")
	Doc("expSum" + v.name + " writes exp(x - shift) and returns its sum; n is a multiple of the lanes.")
	e := v.expo()
	d, x := ptr("dst"), ptr("x")
	s := v.param("shift")
	acc, t := v.zero(), v.reg()
	v.loop([]Register{d, x}, []int{4, 4}, func() {
		VMOVUPS(Mem{Base: x}, t)
		VSUBPS(s, t, t)
		e.of(t)
		VADDPS(t, acc, acc)
		VMOVUPS(t, Mem{Base: d})
	})
	Store(v.sum(acc), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// sigmoid writes 1/(1+e^-x) to s; x stays.
func (e *expo) sigmoid(x, s VecVirtual) {
	neg := e.v.zero()
	VSUBPS(x, neg, s)
	e.of(s)
	VADDPS(e.one, s, s)
	VDIVPS(s, e.one, s)
}

func (v vector) silu() {
	TEXT("silu"+v.name, NOSPLIT, "func(n int, dst, x *float32)")
	Pragma("noescape")
	Doc("silu" + v.name + " writes x·sigmoid(x); n is a multiple of the lanes.")
	e := v.expo()
	d, x := ptr("dst"), ptr("x")
	t, s := v.reg(), v.reg()
	v.loop([]Register{d, x}, []int{4, 4}, func() {
		VMOVUPS(Mem{Base: x}, t)
		e.sigmoid(t, s)
		VMULPS(t, s, s)
		VMOVUPS(s, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) siluBackward() {
	TEXT("siluBackward"+v.name, NOSPLIT, "func(n int, dx, dy, x *float32)")
	Pragma("noescape")
	Doc("siluBackward" + v.name + " writes the gradient of x·sigmoid(x); n is a multiple of the lanes.")
	e := v.expo()
	d, g, x := ptr("dx"), ptr("dy"), ptr("x")
	t, s := v.reg(), v.reg()
	v.loop([]Register{d, g, x}, []int{4, 4, 4}, func() {
		VMOVUPS(Mem{Base: x}, t)
		e.sigmoid(t, s)
		e.siluSlope(t, s)
		VMULPS(Mem{Base: g}, t, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

// siluSlope replaces x by the derivative of x·s at s = sigmoid(x): s + x·s·(1-s) = s + y - y·s.
func (e *expo) siluSlope(x, s VecVirtual) {
	y := e.v.reg()
	VMULPS(x, s, y)
	VMOVAPS(y, x)
	VFNMADD231PS(y, s, x)
	VADDPS(s, x, x)
}

func (v vector) swiglu() {
	TEXT("swiglu"+v.name, NOSPLIT, "func(n int, dst, gate, up *float32)")
	Pragma("noescape")
	Doc("swiglu" + v.name + " writes silu(g)·u; n is a multiple of the lanes.")
	e := v.expo()
	d, g, u := ptr("dst"), ptr("gate"), ptr("up")
	t, s := v.reg(), v.reg()
	v.loop([]Register{d, g, u}, []int{4, 4, 4}, func() {
		VMOVUPS(Mem{Base: g}, t)
		e.sigmoid(t, s)
		VMULPS(t, s, s)
		VMULPS(Mem{Base: u}, s, s)
		VMOVUPS(s, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) swigluBackward() {
	TEXT("swigluBackward"+v.name, NOSPLIT, "func(n int, dg, du, dy, gate, up *float32)")
	Pragma("noescape")
	Doc("swigluBackward" + v.name + " writes the gradients of silu(g)·u; n is a multiple of the lanes.")
	e := v.expo()
	dg, du, dy, g, u := ptr("dg"), ptr("du"), ptr("dy"), ptr("gate"), ptr("up")
	t, s := v.reg(), v.reg()
	v.loop([]Register{dg, du, dy, g, u}, []int{4, 4, 4, 4, 4}, func() {
		VMOVUPS(Mem{Base: g}, t)
		e.sigmoid(t, s)
		VMULPS(t, s, t) // silu
		y := v.reg()
		VMULPS(Mem{Base: dy}, t, y)
		VMOVUPS(y, Mem{Base: du})
		// d silu/dg = s + silu·(1 - s) = s + silu - silu·s
		VMOVAPS(t, y)
		VFNMADD231PS(t, s, y)
		VADDPS(s, y, y)
		VMULPS(Mem{Base: u}, y, y)
		VMULPS(Mem{Base: dy}, y, y)
		VMOVUPS(y, Mem{Base: dg})
	})
	VZEROUPPER()
	RET()
}
