package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// vector is an instruction set seen as f32 lanes.
type vector struct {
	name  string // suffix of the functions
	lanes int
	regs  int
	reg   func() VecVirtual
}

var (
	avx2   = vector{"AVX2", 8, 16, YMM}
	avx512 = vector{"AVX512", 16, 32, ZMM}
)

func (v vector) bytes() int { return v.lanes * 4 }

func (v vector) zero() VecVirtual {
	r := v.reg()
	if v.lanes == 16 {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

// half is the 16-bit companion of a vector: as many lanes in half the width.
func (v vector) half() VecVirtual {
	if v.lanes == 16 {
		return YMM()
	}
	return XMM()
}

var constants = map[string]Mem{}

// constant broadcasts an f32 given by its bits.
func (v vector) constant(name string, bits uint32) VecVirtual {
	m, ok := constants[name]
	if !ok {
		m = ConstData(name, U32(bits))
		constants[name] = m
	}
	r := v.reg()
	VBROADCASTSS(m, r)
	return r
}

func (v vector) float(name string, f float32) VecVirtual {
	return v.constant(name, math.Float32bits(f))
}

// param broadcasts an f32 parameter.
func (v vector) param(name string) VecVirtual {
	r := v.reg()
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(p.Addr, r)
	return r
}

// loop runs body once a vector over n elements and moves ptrs, whose elements have sizes bytes; n is a multiple of lanes.
func (v vector) loop(ptrs []Register, sizes []int, body func()) {
	n := Load(Param("n"), GP64())
	Label("loop")
	CMPQ(n, Imm(uint64(v.lanes)))
	JL(LabelRef("done"))
	body()
	for i, p := range ptrs {
		ADDQ(Imm(uint64(v.lanes*sizes[i])), p)
	}
	SUBQ(Imm(uint64(v.lanes)), n)
	JMP(LabelRef("loop"))
	Label("done")
}

func ptr(name string) Register { return Load(Param(name), GP64()) }

// sum adds the lanes of r and returns them in an XMM's first lane.
func (v vector) sum(r VecVirtual) VecVirtual {
	y := r
	if v.lanes == 16 {
		h := YMM()
		VEXTRACTF64X4(Imm(1), r, h)
		VADDPS(h, r.AsY(), h)
		y = h
	}
	x := XMM()
	VEXTRACTF128(Imm(1), y, x)
	VADDPS(y.AsX(), x, x)
	VHADDPS(x, x, x)
	VHADDPS(x, x, x)
	return x
}

func (v vector) dot() {
	TEXT("dot"+v.name, NOSPLIT, "func(n int, x, y *float32) float32")
	Pragma("noescape")
	Doc("dot" + v.name + " returns x·y; n is a multiple of the lanes.")
	n := Load(Param("n"), GP64())
	x, y := ptr("x"), ptr("y")
	acc := []VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
	t := []VecVirtual{v.reg(), v.reg(), v.reg(), v.reg()}
	Label("loop4")
	CMPQ(n, Imm(uint64(4*v.lanes)))
	JL(LabelRef("loop"))
	for i := range acc {
		VMOVUPS(Mem{Base: x, Disp: i * v.bytes()}, t[i])
		VFMADD231PS(Mem{Base: y, Disp: i * v.bytes()}, t[i], acc[i])
	}
	ADDQ(U32(uint32(4*v.bytes())), x)
	ADDQ(U32(uint32(4*v.bytes())), y)
	SUBQ(Imm(uint64(4*v.lanes)), n)
	JMP(LabelRef("loop4"))
	Label("loop")
	CMPQ(n, Imm(uint64(v.lanes)))
	JL(LabelRef("done"))
	VMOVUPS(Mem{Base: x}, t[0])
	VFMADD231PS(Mem{Base: y}, t[0], acc[0])
	ADDQ(Imm(uint64(v.bytes())), x)
	ADDQ(Imm(uint64(v.bytes())), y)
	SUBQ(Imm(uint64(v.lanes)), n)
	JMP(LabelRef("loop"))
	Label("done")
	VADDPS(acc[1], acc[0], acc[0])
	VADDPS(acc[3], acc[2], acc[2])
	VADDPS(acc[2], acc[0], acc[0])
	Store(v.sum(acc[0]), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func (v vector) axpy() {
	TEXT("axpy"+v.name, NOSPLIT, "func(n int, a float32, x, y *float32)")
	Pragma("noescape")
	Doc("axpy" + v.name + " adds a·x to y; n is a multiple of the lanes.")
	a := v.param("a")
	x, y := ptr("x"), ptr("y")
	t := v.reg()
	v.loop([]Register{x, y}, []int{4, 4}, func() {
		VMOVUPS(Mem{Base: y}, t)
		VFMADD231PS(Mem{Base: x}, a, t)
		VMOVUPS(t, Mem{Base: y})
	})
	VZEROUPPER()
	RET()
}

// widen loads lanes bf16 as f32.
func (v vector) widen(m Mem, r VecVirtual) {
	VPMOVZXWD(m, r)
	VPSLLD(Imm(16), r, r)
}

func (v vector) dotBF16() {
	TEXT("dotBF16"+v.name, NOSPLIT, "func(n int, x *float32, w *uint16) float32")
	Pragma("noescape")
	Doc("dotBF16" + v.name + " returns x·w with w in bf16; n is a multiple of the lanes.")
	n := Load(Param("n"), GP64())
	x, w := ptr("x"), ptr("w")
	acc := []VecVirtual{v.zero(), v.zero()}
	t := []VecVirtual{v.reg(), v.reg()}
	Label("loop2")
	CMPQ(n, Imm(uint64(2*v.lanes)))
	JL(LabelRef("loop"))
	for i := range acc {
		v.widen(Mem{Base: w, Disp: i * v.bytes() / 2}, t[i])
		VFMADD231PS(Mem{Base: x, Disp: i * v.bytes()}, t[i], acc[i])
	}
	ADDQ(U32(uint32(2*v.bytes())), x)
	ADDQ(U32(uint32(v.bytes())), w)
	SUBQ(Imm(uint64(2*v.lanes)), n)
	JMP(LabelRef("loop2"))
	Label("loop")
	CMPQ(n, Imm(uint64(v.lanes)))
	JL(LabelRef("done"))
	v.widen(Mem{Base: w}, t[0])
	VFMADD231PS(Mem{Base: x}, t[0], acc[0])
	ADDQ(Imm(uint64(v.bytes())), x)
	ADDQ(Imm(uint64(v.bytes()/2)), w)
	SUBQ(Imm(uint64(v.lanes)), n)
	JMP(LabelRef("loop"))
	Label("done")
	VADDPS(acc[1], acc[0], acc[0])
	Store(v.sum(acc[0]), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

func (v vector) axpyBF16() {
	TEXT("axpyBF16"+v.name, NOSPLIT, "func(n int, a float32, w *uint16, y *float32)")
	Pragma("noescape")
	Doc("axpyBF16" + v.name + " adds a·w to y with w in bf16; n is a multiple of the lanes.")
	a := v.param("a")
	w, y := ptr("w"), ptr("y")
	t, s := v.reg(), v.reg()
	v.loop([]Register{w, y}, []int{2, 4}, func() {
		v.widen(Mem{Base: w}, s)
		VMOVUPS(Mem{Base: y}, t)
		VFMADD231PS(s, a, t)
		VMOVUPS(t, Mem{Base: y})
	})
	VZEROUPPER()
	RET()
}

func (v vector) binary(op string) {
	TEXT(op+v.name, NOSPLIT, "func(n int, dst, a, b *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s%s writes the elementwise %s of a and b; n is a multiple of the lanes.", op, v.name, op))
	d, a, b := ptr("dst"), ptr("a"), ptr("b")
	t := v.reg()
	v.loop([]Register{d, a, b}, []int{4, 4, 4}, func() {
		VMOVUPS(Mem{Base: a}, t)
		if op == "add" {
			VADDPS(Mem{Base: b}, t, t)
		} else {
			VMULPS(Mem{Base: b}, t, t)
		}
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) mulScale() {
	TEXT("mulScale"+v.name, NOSPLIT, "func(n int, dst, a, b *float32, s float32)")
	Pragma("noescape")
	Doc("mulScale" + v.name + " writes (a·s)·b elementwise; n is a multiple of the lanes.")
	d, a, b := ptr("dst"), ptr("a"), ptr("b")
	s, t := v.param("s"), v.reg()
	v.loop([]Register{d, a, b}, []int{4, 4, 4}, func() {
		VMULPS(Mem{Base: a}, s, t)
		VMULPS(Mem{Base: b}, t, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) max() {
	TEXT("max"+v.name, NOSPLIT, "func(n int, x *float32) float32")
	Pragma("noescape")
	Doc("max" + v.name + " returns the largest element; n is a positive multiple of the lanes.")
	x := ptr("x")
	m := v.reg()
	VMOVUPS(Mem{Base: x}, m)
	v.loop([]Register{x}, []int{4}, func() { VMAXPS(Mem{Base: x}, m, m) })
	y := m
	if v.lanes == 16 {
		y = YMM()
		VEXTRACTF64X4(Imm(1), m, y)
		VMAXPS(y, m.AsY(), y)
	}
	h := XMM()
	VEXTRACTF128(Imm(1), y, h)
	VMAXPS(y.AsX(), h, h)
	g := XMM()
	VPERMILPS(Imm(0x4e), h, g)
	VMAXPS(g, h, h)
	VPERMILPS(Imm(0xb1), h, g)
	VMAXPS(g, h, h)
	Store(h, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// expo computes e^x in place: x = n·ln 2 + r, a polynomial for e^r, n added to the exponent. n is rounded by adding 1.5·2²³.
// At and below -88 the exponent field becomes zero and so the result exactly 0.
type expo struct {
	v                                     vector
	lo, hi, log2e, magic, ln2h, ln2l, one VecVirtual
	p                                     []VecVirtual
}

func (v vector) expo() *expo {
	e := &expo{v: v}
	e.lo, e.hi = v.float("expLo", -88), v.float("expHi", 88.37)
	e.log2e, e.magic = v.float("expLog2e", math.Log2E), v.float("expMagic", 12582912)
	e.ln2h, e.ln2l = v.float("expLn2h", 0.693359375), v.float("expLn2l", -2.12194440e-4)
	e.one = v.float("expOne", 1)
	for i, c := range []float32{1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		e.p = append(e.p, v.float(fmt.Sprintf("expP%d", i), c))
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
	VMOVAPS(e.p[0], y)
	for _, p := range e.p[1:] {
		VFMADD213PS(p, x, y)
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

func (v vector) scale() {
	TEXT("scale"+v.name, NOSPLIT, "func(n int, a float32, x *float32)")
	Pragma("noescape")
	Doc("scale" + v.name + " multiplies x by a; n is a multiple of the lanes.")
	a, x, t := v.param("a"), ptr("x"), v.reg()
	v.loop([]Register{x}, []int{4}, func() {
		VMULPS(Mem{Base: x}, a, t)
		VMOVUPS(t, Mem{Base: x})
	})
	VZEROUPPER()
	RET()
}

func (v vector) subMul() {
	TEXT("subMul"+v.name, NOSPLIT, "func(n int, dst, a, b *float32, s float32)")
	Pragma("noescape")
	Doc("subMul" + v.name + " writes a·(b-s) elementwise; n is a multiple of the lanes.")
	d, a, b := ptr("dst"), ptr("a"), ptr("b")
	s, t := v.param("s"), v.reg()
	v.loop([]Register{d, a, b}, []int{4, 4, 4}, func() {
		VMOVUPS(Mem{Base: b}, t)
		VSUBPS(s, t, t)
		VMULPS(Mem{Base: a}, t, t)
		VMOVUPS(t, Mem{Base: d})
	})
	VZEROUPPER()
	RET()
}

func (v vector) rotate() {
	TEXT("rotate"+v.name, NOSPLIT, "func(n int, x, y, cos, sin *float32, sign float32)")
	Pragma("noescape")
	Doc("rotate" + v.name + " turns the pairs (x, y) by angles given by cos and sign·sin; n is a multiple of the lanes.")
	x, y, c, s := ptr("x"), ptr("y"), ptr("cos"), ptr("sin")
	sign := v.param("sign")
	a, b, sv, t, u := v.reg(), v.reg(), v.reg(), v.reg(), v.reg()
	v.loop([]Register{x, y, c, s}, []int{4, 4, 4, 4}, func() {
		VMOVUPS(Mem{Base: x}, a)
		VMOVUPS(Mem{Base: y}, b)
		VMULPS(Mem{Base: s}, sign, sv)
		VMULPS(b, sv, t)
		VMULPS(a, sv, u)
		VFMSUB231PS(Mem{Base: c}, a, t) // a·cos - b·sin
		VFMADD231PS(Mem{Base: c}, b, u) // b·cos + a·sin
		VMOVUPS(t, Mem{Base: x})
		VMOVUPS(u, Mem{Base: y})
	})
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

func (v vector) adam() {
	TEXT("adam"+v.name, NOSPLIT, "func(n int, w, grad, m, v *float32, lr, beta1, beta2, eps, decay, c1, c2 float32)")
	Pragma("noescape")
	Doc("adam" + v.name + " makes one step of Adam with decoupled decay; c1 and c2 are the bias corrections; n is a multiple of the lanes.")
	w, g, m, vv := ptr("w"), ptr("grad"), ptr("m"), ptr("v")
	lr, b1, b2, eps := v.param("lr"), v.param("beta1"), v.param("beta2"), v.param("eps")
	c1, c2, decay := v.param("c1"), v.param("c2"), v.param("decay")
	gr, t, s := v.reg(), v.reg(), v.reg()
	v.loop([]Register{w, g, m, vv}, []int{4, 4, 4, 4}, func() {
		VMOVUPS(Mem{Base: g}, gr)
		VMOVUPS(Mem{Base: m}, t)
		VSUBPS(gr, t, t)
		VFMADD213PS(gr, b1, t) // b1·(m-g)+g
		VMOVUPS(t, Mem{Base: m})
		VMULPS(gr, gr, gr)
		VMOVUPS(Mem{Base: vv}, s)
		VSUBPS(gr, s, s)
		VFMADD213PS(gr, b2, s)
		VMOVUPS(s, Mem{Base: vv})
		VDIVPS(c2, s, s)
		VSQRTPS(s, s)
		VADDPS(eps, s, s)
		VDIVPS(c1, t, t)
		VDIVPS(s, t, t)
		VMOVUPS(Mem{Base: w}, s)
		VFMADD231PS(decay, s, t)
		VFNMADD231PS(lr, t, s)
		VMOVUPS(s, Mem{Base: w})
	})
	VZEROUPPER()
	RET()
}
