package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// tileDotBF16 emits TDPBF16PS: sums += a·b, of pairs of bf16.
func tileDotBF16(sums, a, b int) {
	amxBytes(fmt.Sprintf("TDPBF16PS tmm%d, tmm%d, tmm%d", b, a, sums), 2, uint32(b), 0x5c, 0, nil, 0xc0|byte(sums<<3|a))
}

// gemmTiles is gemmBF16 by tiles: of one tile's rows, as many as the configuration says, or count times of two. A step
// is as many pairs as the configuration says; rows of a and of a panel's pairs follow each other for the next step.
func gemmTiles(high int) {
	const tileA, tileB = 6, 7
	name := fmt.Sprintf("gemm%dx48AMX", 16*high)
	TEXT(name, NOSPLIT, "func(config *byte, count, steps int, a *uint16, lda int, b *uint16, c *float32, ldc int, acc bool)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies rows of bf16 pairs, %d tiles of them at a time, with a packed panel of bf16 pairs.", name, high))
	config, count, steps, acc, at, ahead := RAX, RCX, RBX, RDX, RAX, RDX // acc is read before ahead is written
	a, next, lda, b, pairs, c, ldc := R8, R13, R9, R10, R11, R12, RSI
	rows := [2]GPPhysical{a, next}
	sums := [2]GPPhysical{c, RDI}
	Load(Param("config"), config)
	amxBytes("LDTILECFG (AX)", 0, 0, 0x49, 0, []Op{config}, 0)
	Load(Param("count"), count)
	Load(Param("a"), a)
	Load(Param("lda"), lda)
	SHLQ(Imm(1), lda)
	Load(Param("c"), c)
	Load(Param("ldc"), ldc)
	SHLQ(Imm(2), ldc)
	MOVQ(U64(pairRow), pairs)
	under := func(row, stride, to GPPhysical) { // 16 rows further
		MOVQ(stride, at)
		SHLQ(Imm(4), at)
		ADDQ(row, at)
		MOVQ(at, to)
	}
	each := func(f func(tile int, at GPPhysical, column int)) {
		for i := range high {
			for j := range 3 {
				f(3*i+j, sums[i], 64*j)
			}
		}
	}
	Label("rows")
	Load(Param("b"), b)
	Load(Param("steps"), steps)
	Load(Param("acc"), acc.As8().(GPPhysical))
	if high == 2 {
		under(a, lda, next)
		under(c, ldc, sums[1])
	}
	TESTB(acc.As8(), acc.As8())
	JNZ(LabelRef("load"))
	each(func(tile int, _ GPPhysical, _ int) { tileZero(tile) })
	JMP(LabelRef("multiply"))
	Label("load")
	each(func(tile int, at GPPhysical, column int) { tileLoad(tile, at, ldc, column) })
	Label("multiply")
	under(sums[high-1], ldc, ahead)
	Label("loop")
	for i := range high {
		tileLoad(tileA, rows[i], lda, 0)
		for j := range 3 {
			if i == 1 {
				j = 2 - j // the last one is still there
			}
			if i == 0 || j < 2 {
				tileLoad(tileB, b, pairs, 64*j)
			}
			tileDotBF16(3*i+j, tileA, tileB)
		}
	}
	for range 2 { // lines of sums that the next rows write, two rows a step
		for j := range 3 {
			prefetchWrite(64 * uint32(j))
		}
		ADDQ(ldc, ahead)
	}
	for _, r := range rows[:high] {
		ADDQ(Imm(64), r)
	}
	ADDQ(U32(16*pairRow), b)
	DECQ(steps)
	JNZ(LabelRef("loop"))
	each(func(tile int, at GPPhysical, column int) { tileStore(tile, at, ldc, column) })
	// Back to the first step, and on to the next rows, which follow the last tile's.
	Load(Param("steps"), steps)
	SHLQ(Imm(6), steps)
	SUBQ(steps, rows[high-1])
	under(rows[high-1], lda, a)
	under(sums[high-1], ldc, c)
	DECQ(count)
	JNZ(LabelRef("rows"))
	tileRelease()
	RET()
}

// prefetchWrite emits PREFETCHW disp(DX), which Go's assembler lacks: 0F 0D /1.
func prefetchWrite(disp uint32) {
	Comment(fmt.Sprintf("PREFETCHW %d(DX)", disp))
	for _, x := range []byte{0x0f, 0x0d, 0x8a, byte(disp), byte(disp >> 8), 0, 0} {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(x)}})
	}
}

// peakTiles runs independent products of tiles.
func peakTiles() {
	TEXT("peakAMX", NOSPLIT, "func(config *byte, n int)")
	Pragma("noescape")
	Doc("peakAMX runs n times 6 independent TDPBF16PS.")
	n := RCX
	Load(Param("config"), RAX)
	Load(Param("n"), n)
	amxBytes("LDTILECFG (AX)", 0, 0, 0x49, 0, []Op{RAX}, 0)
	for i := range 8 {
		tileZero(i)
	}
	Label("loop")
	for i := range 6 {
		tileDotBF16(i, 6, 7)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	tileRelease()
	RET()
}
