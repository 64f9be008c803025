package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// gathered are the parameters that the kernels over gathered rows share.
type gathered struct {
	n, rows, bytes, table Register // rows left, their numbers, bytes of a row, the table
}

func loadGathered() gathered {
	g := gathered{n: Load(Param("n"), GP64()), rows: ptr("rows"), bytes: Load(Param("width"), GP64()), table: ptr("table")}
	SHLQ(Imm(2), g.bytes)
	return g
}

// row writes the address of the row whose number is i places ahead.
func (g gathered) row(i int, to Register) {
	MOVL(Mem{Base: g.rows, Disp: 4 * i}, to.(GP).As32())
	IMULQ(g.bytes, to)
	ADDQ(g.table, to)
}

// gatherDot multiplies x with each row, four rows at a time. Every row is summed in two chains, whichever loop it is in.
func (v vector) gatherDot() {
	TEXT("gatherDot"+v.name, NOSPLIT, "func(n, width int, rows *uint32, table, x, out *float32)")
	Pragma("noescape")
	Doc("gatherDot" + v.name + " sets out[i] = table[rows[i]]·x; width is a multiple of the lanes, not 0.")
	g := loadGathered()
	x, out := ptr("x"), ptr("out")
	rows := []Register{GP64(), GP64(), GP64(), GP64()}
	at, left := GP64(), GP64()
	for _, m := range []int{4, 1} {
		name := fmt.Sprintf("rows%d", m)
		Label(name)
		CMPQ(g.n, Imm(uint64(m)))
		JL(LabelRef(name + "done"))
		var acc [2][]VecVirtual
		for i := range m {
			g.row(i, rows[i])
			acc[0], acc[1] = append(acc[0], v.zero()), append(acc[1], v.zero())
		}
		XORQ(at, at)
		MOVQ(g.bytes, left)
		step := func(chain, disp int) {
			t := v.reg()
			VMOVUPS(Mem{Base: x, Index: at, Scale: 1, Disp: disp}, t)
			for i := range m {
				VFMADD231PS(Mem{Base: rows[i], Index: at, Scale: 1, Disp: disp}, t, acc[chain][i])
			}
		}
		Label(name + "pair")
		CMPQ(left, Imm(uint64(2*v.bytes())))
		JL(LabelRef(name + "last"))
		step(0, 0)
		step(1, v.bytes())
		ADDQ(U32(uint32(2*v.bytes())), at)
		SUBQ(U32(uint32(2*v.bytes())), left)
		JMP(LabelRef(name + "pair"))
		Label(name + "last")
		TESTQ(left, left)
		JZ(LabelRef(name + "sum"))
		step(0, 0)
		Label(name + "sum")
		for i := range m {
			VADDPS(acc[1][i], acc[0][i], acc[0][i])
			VMOVSS(v.sum(acc[0][i]), Mem{Base: out, Disp: 4 * i})
		}
		ADDQ(Imm(uint64(4*m)), out)
		ADDQ(Imm(uint64(4*m)), g.rows)
		SUBQ(Imm(uint64(m)), g.n)
		JMP(LabelRef(name))
		Label(name + "done")
	}
	VZEROUPPER()
	RET()
}

// columns runs body on blocks of columns: as many vectors as body is told, beginning at the offset at, in bytes.
func (v vector) columns(g gathered, at Register, body func(name string, vectors int)) {
	left := GP64()
	XORQ(at, at)
	MOVQ(g.bytes, left)
	for _, m := range []int{v.regs / 2, v.regs / 8, 1} {
		name := fmt.Sprintf("columns%d", m)
		Label(name)
		CMPQ(left, U32(uint32(m*v.bytes())))
		JL(LabelRef(name + "done"))
		body(name, m)
		ADDQ(U32(uint32(m*v.bytes())), at)
		SUBQ(U32(uint32(m*v.bytes())), left)
		JMP(LabelRef(name))
		Label(name + "done")
	}
}

// eachRow runs body for each row, with w broadcast and the address of the row at the block of columns.
func (v vector) eachRow(g gathered, at, w Register, name string, body func(row Register, weight VecVirtual)) {
	i, row := GP64(), GP64()
	XORQ(i, i)
	Label(name + "row")
	CMPQ(i, g.n)
	JGE(LabelRef(name + "end"))
	MOVL(Mem{Base: g.rows, Index: i, Scale: 4}, row.As32())
	IMULQ(g.bytes, row)
	ADDQ(g.table, row)
	ADDQ(at, row)
	weight := v.reg()
	VBROADCASTSS(Mem{Base: w, Index: i, Scale: 4}, weight)
	body(row, weight)
	INCQ(i)
	JMP(LabelRef(name + "row"))
	Label(name + "end")
}

// gatherAxpy keeps a block of y's columns in registers over all rows.
func (v vector) gatherAxpy() {
	TEXT("gatherAxpy"+v.name, NOSPLIT, "func(n, width int, rows *uint32, table, w, y *float32)")
	Pragma("noescape")
	Doc("gatherAxpy" + v.name + " adds w[i]·table[rows[i]] to y for each i in turn; width is a multiple of the lanes.")
	g := loadGathered()
	w, y, at := ptr("w"), ptr("y"), GP64()
	v.columns(g, at, func(name string, m int) {
		acc := make([]VecVirtual, m)
		for i := range acc {
			acc[i] = v.reg()
			VMOVUPS(Mem{Base: y, Index: at, Scale: 1, Disp: i * v.bytes()}, acc[i])
		}
		v.eachRow(g, at, w, name, func(row Register, weight VecVirtual) {
			for i := range acc {
				VFMADD231PS(Mem{Base: row, Disp: i * v.bytes()}, weight, acc[i])
			}
		})
		for i := range acc {
			VMOVUPS(acc[i], Mem{Base: y, Index: at, Scale: 1, Disp: i * v.bytes()})
		}
	})
	VZEROUPPER()
	RET()
}

// scatterAxpy keeps a block of x's columns in registers over all rows.
func (v vector) scatterAxpy() {
	TEXT("scatterAxpy"+v.name, NOSPLIT, "func(n, width int, rows *uint32, table, w, x *float32)")
	Pragma("noescape")
	Doc("scatterAxpy" + v.name + " adds w[i]·x to table[rows[i]] for each i in turn; width is a multiple of the lanes.")
	g := loadGathered()
	w, x, at := ptr("w"), ptr("x"), GP64()
	v.columns(g, at, func(name string, m int) {
		cols := make([]VecVirtual, m)
		for i := range cols {
			cols[i] = v.reg()
			VMOVUPS(Mem{Base: x, Index: at, Scale: 1, Disp: i * v.bytes()}, cols[i])
		}
		v.eachRow(g, at, w, name, func(row Register, weight VecVirtual) {
			for i := range cols {
				t := v.reg()
				VMOVUPS(Mem{Base: row, Disp: i * v.bytes()}, t)
				VFMADD231PS(cols[i], weight, t)
				VMOVUPS(t, Mem{Base: row, Disp: i * v.bytes()})
			}
		})
	})
	VZEROUPPER()
	RET()
}
