package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// panel is the width of a packed panel in columns; the Go side has the same constant.
const panel = 48

// products writes the matrix products, the 16-bit formats that they use and the measurements of peaks.
func products() {
	for rows := range 8 {
		gemmF32(avx512, rows+1, 3)
	}
	for _, rows := range []int{2, 1} { // all 48 columns at once
		gemmF32(avx2, rows, 6)
	}
	gemmF32(avx2, 4, 3)
	gemmExact(1)
	gemmExact(2)
	gemmTransposed(avx512, 8)
	gemmTransposed(avx2, 4)
	for rows := range 8 {
		gemmBF16(rows + 1)
	}
	for _, v := range []vector{avx2, avx512} {
		v.toBF16()
		v.fromBF16()
		v.toF16()
		v.fromF16()
		v.fmaPeak()
	}
	for _, bits := range []int{4, 8} {
		for _, rows := range []int{8, 4, 1} {
			codes(bits, rows, false)
		}
		for _, rows := range []int{16, 8, 4, 1} {
			codes(bits, rows, true)
		}
	}
	for _, l := range []quantised{wide, narrow, biased} {
		l.quantise()
	}
	for _, rows := range []int{16, 8, 4, 1} {
		biasedProduct(rows)
	}
	for _, bits := range []int{4, 8} {
		codesTiled(bits, wide)
		codesTiled(bits, narrow)
	}
	biasedTiled()
	gemmTiles(1)
	gemmTiles(2)
	widenCodes()
	for _, bits := range []int{4, 8} {
		unpackCodes(bits)
		unpackColumns(bits)
		unpackBiased(bits)
	}
	transpose()
	peakBF16()
	peakInt8()
	peakTiles()
	readSum()
	spin()
}

// spin lets the core's other thread, or the memory, have a moment.
func spin() {
	TEXT("pause", NOSPLIT, "func()")
	Doc("pause waits some 0.4 µs without work.")
	n := GP64()
	MOVQ(U64(16), n)
	Label("loop")
	PAUSE()
	DECQ(n)
	JNZ(LabelRef("loop"))
	RET()
}

// rows addresses up to sixteen rows a stride apart with a base register for every four, so that a needs no packing.
type rows struct{ a, a4, a8, a12, ld, ld3 Register }

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
	if n > 8 {
		g, h := GP64(), GP64()
		LEAQ(Mem{Base: a, Index: ld, Scale: 8}, g)
		LEAQ(Mem{Base: g, Index: ld, Scale: 4}, h)
		r.a8, r.a12 = g, h
	}
	return r
}

func (r rows) mem(i, disp int) Mem {
	base := []Register{r.a, r.a4, r.a8, r.a12}[i/4]
	i %= 4
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
	for _, g := range []Register{r.a, r.a4, r.a8, r.a12} {
		if g != nil {
			ADDQ(Imm(uint64(n)), g)
		}
	}
}

// unrolled runs step n times, two at a time, over 4 bytes of each row and bytes of b a step. Asking for lines of b ahead
// gains nothing: a panel is one stream, which the processor sees.
func unrolled(n, b Register, r rows, bytes int, step func(u int)) {
	Label("loop")
	CMPQ(n, Imm(2))
	JL(LabelRef("tail"))
	step(0)
	step(1)
	r.advance(8)
	ADDQ(U32(uint32(2*bytes)), b)
	SUBQ(Imm(2), n)
	JMP(LabelRef("loop"))
	Label("tail")
	TESTQ(n, n)
	JZ(LabelRef("store"))
	step(0)
	Label("store")
}

// accumulators clears mr × nv vectors.
func accumulators(v vector, mr, nv int) [][]VecVirtual {
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		for range nv {
			acc[i] = append(acc[i], v.zero())
		}
	}
	return acc
}

// gemmF32 writes C[mr, nv vectors] (+)= A[mr, k]·B where B is a packed panel: for each k, panel columns. The same order
// of additions at every number of rows makes a row's result independent of its neighbours.
func gemmF32(v vector, mr, nv int) {
	name := fmt.Sprintf("gemm%dx%d%s", mr, nv*v.lanes, v.name)
	TEXT(name, NOSPLIT, "func(k int, a *float32, lda int, b, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d rows of a with a packed panel.", name, mr))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(Imm(2), lda)
	r := loadRows(a, lda, mr)
	acc := accumulators(v, mr, nv)
	mul := multiplier(v, acc)
	unrolled(k, b, r, panel*4, func(u int) {
		mul(b, u*panel*4, func(i int) Mem { return r.mem(i, u*4) })
	})
	storeTile(v, acc)
}

// gemmExact is gemmF32 of one row with panels kept in bf16, one or two side by side.
func gemmExact(panels int) {
	name := fmt.Sprintf("gemm1x%dExactAVX512", panels*panel)
	TEXT(name, NOSPLIT, "func(k int, a *float32, b *uint16, c *float32, acc bool)")
	Pragma("noescape")
	Doc(name + " multiplies a row of a with packed panels of bf16, widened; sums are those of gemm1x48AVX512.")
	v := avx512
	k := Load(Param("k"), GP64())
	a, b := ptr("a"), ptr("b")
	bs := []Register{b}
	if panels == 2 {
		next := GP64()
		IMUL3Q(U32(panel*2), k, next)
		ADDQ(b, next)
		bs = append(bs, next)
	}
	acc := accumulators(v, panels, 3)
	x, t := v.reg(), []VecVirtual{v.reg(), v.reg(), v.reg()}
	Label("loop")
	VBROADCASTSS(Mem{Base: a}, x)
	for i := range acc {
		for j := range t {
			v.widen(Mem{Base: bs[i], Disp: j * v.bytes() / 2}, t[j])
			VFMADD231PS(t[j], x, acc[i][j])
		}
	}
	ADDQ(Imm(4), a)
	for _, b := range bs {
		ADDQ(Imm(panel*2), b)
	}
	DECQ(k)
	JNZ(LabelRef("loop"))
	c, add := ptr("c"), Load(Param("acc"), GP8())
	TESTB(add, add)
	JZ(LabelRef("store"))
	each := func(f func(r VecVirtual, m Mem)) {
		for i := range acc {
			for j, r := range acc[i] {
				f(r, Mem{Base: c, Disp: i*panel*4 + j*v.bytes()})
			}
		}
	}
	each(func(r VecVirtual, m Mem) { VADDPS(m, r, r) })
	Label("store")
	each(func(r VecVirtual, m Mem) { VMOVUPS(r, m) })
	VZEROUPPER()
	RET()
}

// multiplier returns the code of one step of k: acc[i] += a(i)·row of b. Where registers are few, b stays in memory.
func multiplier(v vector, acc [][]VecVirtual) func(b Register, disp int, a func(i int) Mem) {
	mr, nv := len(acc), len(acc[0])
	free := v.regs - mr*nv
	load := free > nv
	var bv []VecVirtual
	if load {
		for range nv {
			bv = append(bv, v.reg())
		}
		free -= nv
	}
	br := make([]VecVirtual, min(4, free, mr))
	for j := range br {
		br[j] = v.reg()
	}
	return func(b Register, disp int, a func(i int) Mem) {
		for j := range bv {
			VMOVUPS(Mem{Base: b, Disp: disp + j*v.bytes()}, bv[j])
		}
		for i := range acc {
			x := br[i%len(br)]
			VBROADCASTSS(a(i), x)
			for j, c := range acc[i] {
				if load {
					VFMADD231PS(bv[j], x, c)
				} else {
					VFMADD231PS(Mem{Base: b, Disp: disp + j*v.bytes()}, x, c)
				}
			}
		}
	}
}

// gemmTransposed is gemmF32 with A given as its transpose: element (i, k) stands at a[k·lda + i].
func gemmTransposed(v vector, mr int) {
	name := fmt.Sprintf("gemmT%dx%d%s", mr, 3*v.lanes, v.name)
	TEXT(name, NOSPLIT, "func(k int, a *float32, lda int, b, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d columns of a, whose rows stand lda apart, with a packed panel; k is positive.", name, mr))
	k := Load(Param("k"), GP64())
	a := Load(Param("a"), GP64())
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	SHLQ(Imm(2), lda)
	acc := accumulators(v, mr, 3)
	mul := multiplier(v, acc)
	Label("loop")
	mul(b, 0, func(i int) Mem { return Mem{Base: a, Disp: 4 * i} })
	ADDQ(lda, a)
	ADDQ(U32(panel*4), b)
	DECQ(k)
	JNZ(LabelRef("loop"))
	storeTile(v, acc)
}

// storeTile adds the accumulators to C or overwrites it.
func storeTile[R Register](v vector, acc [][]R) {
	c := Load(Param("c"), GP64())
	ldc := Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	add := Load(Param("acc"), GP8())
	TESTB(add, add)
	JZ(LabelRef("overwrite"))
	c2 := GP64()
	MOVQ(c, c2)
	for i := range acc {
		for j, r := range acc[i] {
			VADDPS(Mem{Base: c2, Disp: j * v.bytes()}, r, r)
		}
		if i+1 < len(acc) {
			ADDQ(ldc, c2)
		}
	}
	Label("overwrite")
	for i := range acc {
		for j, r := range acc[i] {
			VMOVUPS(r, Mem{Base: c, Disp: j * v.bytes()})
		}
		if i+1 < len(acc) {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}
