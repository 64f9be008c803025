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
	v.clear(r)
	return r
}

func (v vector) clear(r VecVirtual) {
	if v.lanes == 16 {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
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
	r := v.reg()
	VBROADCASTSS(word(name, bits), r)
	return r
}

// word is a constant in memory.
func word(name string, bits uint32) Mem {
	m, ok := constants[name]
	if !ok {
		m = ConstData(name, U32(bits))
		constants[name] = m
	}
	return m
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
	Store(v.largest(m), ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// largest returns the largest lane of m in an XMM's first lane.
func (v vector) largest(m VecVirtual) VecVirtual {
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
	return h
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
