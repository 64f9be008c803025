package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// panel is the width of a packed panel in columns; the Go side has the same constant.
const panel = 48

// rowMem addresses row i of up to eight rows a stride apart with two base registers, so that a needs no packing.
type rows struct{ a, a4, ld, ld3 Register }

func loadRows(a, ld Register, n int) rows {
	r := rows{a: a, ld: ld}
	if n > 3 {
		g := GP64()
		LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, g)
		r.ld3 = g
	}
	if n > 4 {
		g := GP64()
		LEAQ(Mem{Base: a, Index: ld, Scale: 4}, g)
		r.a4 = g
	}
	return r
}

func (r rows) mem(i, disp int) Mem {
	base := r.a
	if i >= 4 {
		base, i = r.a4, i-4
	}
	switch i {
	case 0:
		return Mem{Base: base, Disp: disp}
	case 3:
		return Mem{Base: base, Index: r.ld3, Scale: 1, Disp: disp}
	}
	return Mem{Base: base, Index: r.ld, Scale: uint8(i), Disp: disp}
}

// advance moves the rows by n bytes.
func (r rows) advance(n int) {
	ADDQ(Imm(uint64(n)), r.a)
	if r.a4 != nil {
		ADDQ(Imm(uint64(n)), r.a4)
	}
}

// gemmF32 writes C[rows, nv vectors] (+)= A[rows, k]·B where B is a packed panel: for each k, panel columns. The same order
// of additions at every number of rows makes a row's result independent of its neighbours.
func gemmF32(v vector, mr, nv int) {
	TEXT(fmt.Sprintf("gemm%dx%d%s", mr, nv*v.lanes, v.name), NOSPLIT, "func(k int, a *float32, lda int, b, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemm%dx%d%s multiplies %d rows of a with a packed panel.", mr, nv*v.lanes, v.name, mr))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(Imm(2), lda)
	r := loadRows(a, lda, mr)
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		for j := 0; j < nv; j++ {
			acc[i] = append(acc[i], v.zero())
		}
	}
	bv := make([]VecVirtual, nv)
	for j := range bv {
		bv[j] = v.reg()
	}
	nb := min(4, v.regs-mr*nv-nv)
	br := make([]VecVirtual, nb)
	for j := range br {
		br[j] = v.reg()
	}
	step := func(u int) {
		for j := range bv {
			VMOVUPS(Mem{Base: b, Disp: u*panel*4 + j*v.lanes*4}, bv[j])
		}
		for i := 0; i < mr; i++ {
			x := br[i%nb]
			VBROADCASTSS(r.mem(i, u*4), x)
			for j := range bv {
				VFMADD231PS(bv[j], x, acc[i][j])
			}
		}
	}
	const unroll = 2
	Label("loop")
	CMPQ(k, Imm(unroll))
	JL(LabelRef("tail"))
	for u := 0; u < unroll; u++ {
		step(u)
	}
	r.advance(4 * unroll)
	ADDQ(U32(unroll*panel*4), b)
	SUBQ(Imm(unroll), k)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	step(0)
	Label("store")
	storeTile(v, acc)
}

// storeTile adds the accumulators to C or overwrites it.
func storeTile(v vector, acc [][]VecVirtual) {
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	add := Load(Param("acc"), GP8())
	TESTB(add, add)
	JZ(LabelRef("overwrite"))
	c2 := GP64()
	MOVQ(c, c2)
	for i := range acc {
		for j := range acc[i] {
			VADDPS(Mem{Base: c2, Disp: j * v.lanes * 4}, acc[i][j], acc[i][j])
		}
		if i+1 < len(acc) {
			ADDQ(ldc, c2)
		}
	}
	Label("overwrite")
	for i := range acc {
		for j := range acc[i] {
			VMOVUPS(acc[i][j], Mem{Base: c, Disp: j * v.lanes * 4})
		}
		if i+1 < len(acc) {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}

// raw emits an instruction that Go's assembler lacks, as bytes.
func raw(comment string, bytes ...byte) {
	Comment(comment)
	for _, b := range bytes {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}})
	}
}

// dpbf16 emits VDPBF16PS Zb, Za, Zacc: acc += pairs of a·b (Intel SDM: EVEX.512.F3.0F38.W0 52 /r).
func dpbf16(acc, a, b int) {
	inv := func(bit int) byte { return byte(bit&1) ^ 1 }
	p0 := inv(acc>>3)<<7 | inv(b>>4)<<6 | inv(b>>3)<<5 | inv(acc>>4)<<4 | 2
	p1 := byte(^a&15)<<3 | 1<<2 | 2
	p2 := byte(2)<<5 | inv(a>>4)<<3
	modrm := byte(0xC0) | byte(acc&7)<<3 | byte(b&7)
	raw(fmt.Sprintf("VDPBF16PS Z%d, Z%d, Z%d", b, a, acc), 0x62, p0, p1, p2, 0x52, modrm)
}

var zmm = []VecPhysical{Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31}

// gemmBF16 is gemmF32 over pairs of bf16: a holds rows of bf16 (lda in elements), b a panel of [pairs][48][2] bf16.
func gemmBF16(mr int) {
	const nv = 3
	TEXT(fmt.Sprintf("gemm%dx48BF16", mr), NOSPLIT, "func(pairs int, a *uint16, lda int, b *uint16, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemm%dx48BF16 multiplies %d rows of bf16 pairs with a packed panel of bf16 pairs.", mr, mr))
	k := Load(Param("pairs"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(Imm(1), lda)
	r := loadRows(a, lda, mr)
	for i := 0; i < mr*nv; i++ {
		VPXORD(zmm[i], zmm[i], zmm[i])
	}
	step := func(u int) {
		for j := 0; j < nv; j++ {
			VMOVUPS(Mem{Base: b, Disp: (u*nv + j) * 64}, zmm[24+j])
		}
		for i := 0; i < mr; i++ {
			x := 27 + i%5
			VPBROADCASTD(r.mem(i, u*4), zmm[x])
			for j := 0; j < nv; j++ {
				dpbf16(i*nv+j, 24+j, x)
			}
		}
	}
	Label("loop")
	CMPQ(k, Imm(2))
	JL(LabelRef("tail"))
	step(0)
	step(1)
	r.advance(8)
	ADDQ(U32(2*nv*64), b)
	SUBQ(Imm(2), k)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(k, k)
	JZ(LabelRef("store"))
	step(0)
	Label("store")
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	add := Load(Param("acc"), GP8())
	TESTB(add, add)
	JZ(LabelRef("overwrite"))
	c2 := GP64()
	MOVQ(c, c2)
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			VADDPS(Mem{Base: c2, Disp: j * 64}, zmm[i*nv+j], zmm[i*nv+j])
		}
		ADDQ(ldc, c2)
	}
	Label("overwrite")
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			VMOVUPS(zmm[i*nv+j], Mem{Base: c, Disp: j * 64})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

func peakBF16() {
	TEXT("peakBF16", NOSPLIT, "func(n int)")
	Pragma("noescape")
	Doc("peakBF16 runs n times 24 independent VDPBF16PS.")
	n := Load(Param("n"), GP64())
	for i := range zmm {
		VPXORD(zmm[i], zmm[i], zmm[i])
	}
	Label("loop")
	for i := 0; i < 24; i++ {
		dpbf16(i, 24, 25)
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
	p := Load(Param("p"), GP64())
	n := Load(Param("n"), GP64())
	acc := make([]VecVirtual, 16)
	for i := range acc {
		acc[i] = YMM()
		VPXOR(acc[i], acc[i], acc[i])
	}
	Label("loop")
	for i := range acc {
		VPXOR(Mem{Base: p, Disp: i * 32}, acc[i], acc[i])
	}
	ADDQ(U32(512), p)
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
