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

// halves are the parameters of the kernels over gathered rows in bf16, a stride apart. While they work on rows, they ask
// for those that are wanted next.
type halves struct {
	n, bytes, stride, rows, next, table Register // rows left, their bytes, the bytes between two, numbers, table
}

func loadHalves() halves {
	h := halves{Load(Param("n"), GP64()), Load(Param("width"), GP64()), Load(Param("stride"), GP64()), ptr("rows"), ptr("next"), ptr("table")}
	ADDQ(h.bytes, h.bytes)
	ADDQ(h.stride, h.stride)
	return h
}

// row writes the address of the row that numbers name.
func (h halves) row(number Mem, to Register) {
	MOVL(number, to.(GP).As32())
	IMULQ(h.stride, to)
	ADDQ(h.table, to)
}

// gatherDotBF16 multiplies x with each row, two rows at a time. Every row is summed in two chains, whichever loop it is in.
func (v vector) gatherDotBF16() {
	TEXT("gatherDotBF16"+v.name, NOSPLIT, "func(n, width, stride int, rows, next *uint32, table *uint16, x, out *float32)")
	Pragma("noescape")
	Doc("gatherDotBF16" + v.name + " sets out[i] = table[rows[i]]·x; width is a multiple of the lanes, not 0.")
	h := loadHalves()
	x, out := ptr("x"), ptr("out")
	row, ahead := []Register{GP64(), GP64()}, []Register{GP64(), GP64()}
	at, pairs := GP64(), GP64()
	acc, t := [2][]VecVirtual{}, []VecVirtual{v.reg(), v.reg()}
	for range 2 {
		acc[0], acc[1] = append(acc[0], v.reg()), append(acc[1], v.reg())
	}
	xs := v.reg()
	for _, m := range []int{2, 1} {
		name := fmt.Sprintf("rows%d", m)
		Label(name)
		CMPQ(h.n, Imm(uint64(m)))
		JL(LabelRef(name + "done"))
		for i := range m {
			h.row(Mem{Base: h.rows, Disp: 4 * i}, row[i])
			h.row(Mem{Base: h.next, Disp: 4 * i}, ahead[i])
			v.clear(acc[0][i])
			v.clear(acc[1][i])
		}
		XORQ(at, at)
		MOVQ(h.bytes, pairs)
		SUBQ(Imm(uint64(v.bytes())), pairs)
		step := func(chain int) {
			VMOVUPS(Mem{Base: x, Index: at, Scale: 2, Disp: chain * v.bytes()}, xs)
			for i := range m {
				v.widen(Mem{Base: row[i], Index: at, Scale: 1, Disp: chain * v.bytes() / 2}, t[i])
				VFMADD231PS(xs, t[i], acc[chain][i])
			}
		}
		Label(name + "pair")
		CMPQ(at, pairs)
		JG(LabelRef(name + "last"))
		for i := range m {
			PREFETCHT1(Mem{Base: ahead[i], Index: at, Scale: 1})
		}
		step(0)
		step(1)
		ADDQ(Imm(uint64(v.bytes())), at)
		JMP(LabelRef(name + "pair"))
		Label(name + "last")
		CMPQ(at, h.bytes)
		JGE(LabelRef(name + "sum"))
		step(0)
		Label(name + "sum")
		for i := range m {
			VADDPS(acc[1][i], acc[0][i], acc[0][i])
			VMOVSS(v.sum(acc[0][i]), Mem{Base: out, Disp: 4 * i})
		}
		for _, p := range []Register{out, h.rows, h.next} {
			ADDQ(Imm(uint64(4*m)), p)
		}
		SUBQ(Imm(uint64(m)), h.n)
		JMP(LabelRef(name))
		Label(name + "done")
	}
	VZEROUPPER()
	RET()
}

// gatherAxpyBF16 forms the sum of a block of columns in registers and adds it to y's.
func (v vector) gatherAxpyBF16() {
	TEXT("gatherAxpyBF16"+v.name, NOSPLIT, "func(n, width, stride int, rows, next *uint32, table *uint16, w, y *float32)")
	Pragma("noescape")
	Doc("gatherAxpyBF16" + v.name + " adds Σ w[i]·table[rows[i]] to y; width is a multiple of the lanes.")
	h := loadHalves()
	w, y := ptr("w"), ptr("y")
	i, row := GP64(), GP64()
	t, weight := []VecVirtual{v.reg(), v.reg()}, v.reg()
	most := v.regs / 2
	acc := make([]VecVirtual, most)
	for j := range acc {
		acc[j] = v.reg()
	}
	for _, m := range []int{most, v.regs / 8, 1} {
		name := fmt.Sprintf("columns%d", m)
		bytes := m * v.bytes() / 2
		Label(name)
		CMPQ(h.bytes, U32(uint32(bytes)))
		JL(LabelRef(name + "done"))
		for j := range m {
			v.clear(acc[j])
		}
		XORQ(i, i)
		Label(name + "row")
		CMPQ(i, h.n)
		JGE(LabelRef(name + "end"))
		h.row(Mem{Base: h.next, Index: i, Scale: 4}, row)
		for d := 0; d < bytes; d += 64 {
			PREFETCHT1(Mem{Base: row, Disp: d})
		}
		h.row(Mem{Base: h.rows, Index: i, Scale: 4}, row)
		VBROADCASTSS(Mem{Base: w, Index: i, Scale: 4}, weight)
		for j := range m {
			v.widen(Mem{Base: row, Disp: j * v.bytes() / 2}, t[j%2])
			VFMADD231PS(t[j%2], weight, acc[j])
		}
		INCQ(i)
		JMP(LabelRef(name + "row"))
		Label(name + "end")
		for j := range m {
			VADDPS(Mem{Base: y, Disp: j * v.bytes()}, acc[j], acc[j])
			VMOVUPS(acc[j], Mem{Base: y, Disp: j * v.bytes()})
		}
		ADDQ(U32(uint32(m*v.bytes())), y)
		ADDQ(U32(uint32(bytes)), h.table)
		SUBQ(U32(uint32(bytes)), h.bytes)
		JMP(LabelRef(name))
		Label(name + "done")
	}
	VZEROUPPER()
	RET()
}
