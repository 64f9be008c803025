package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tile writes C[mr, nv vectors] (+)= A·B with nothing packed: element (i, k) of A stands at i·ars + k·acs, so that A may
// be a transpose, and B's rows stand ldb apart. Every element is summed in the order of k at every mr.
func (v vector) tile(mr, nv int) {
	name := fmt.Sprintf("tile%dx%d%s", mr, nv, v.name)
	TEXT(name, NOSPLIT, "func(k int, a *float32, ars, acs int, b *float32, ldb int, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies %d rows of a with %d vectors of columns of b; k is positive.", name, mr, nv))
	k, a, ars, acs := Load(Param("k"), GP64()), ptr("a"), Load(Param("ars"), GP64()), Load(Param("acs"), GP64())
	b, ldb := ptr("b"), Load(Param("ldb"), GP64())
	for _, s := range []Register{ars, acs, ldb} {
		SHLQ(Imm(2), s)
	}
	r := loadRows(a, ars, mr)
	acc := make([][]VecVirtual, mr)
	for i := range acc {
		for range nv {
			acc[i] = append(acc[i], v.zero())
		}
	}
	cols := make([]VecVirtual, nv)
	for j := range cols {
		cols[j] = v.reg()
	}
	x := []VecVirtual{v.reg(), v.reg()}
	Label("loop")
	for j := range cols {
		VMOVUPS(Mem{Base: b, Disp: j * v.bytes()}, cols[j])
	}
	for i := range mr {
		VBROADCASTSS(r.mem(i, 0), x[i%2])
		for j := range cols {
			VFMADD231PS(cols[j], x[i%2], acc[i][j])
		}
	}
	ADDQ(acs, a)
	if r.a4 != nil {
		ADDQ(acs, r.a4)
	}
	ADDQ(ldb, b)
	DECQ(k)
	JNZ(LabelRef("loop"))
	storeTile(v, acc)
}
