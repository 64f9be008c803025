package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// topCandidates writes the positions of all elements that are no less than some bound of which at least 16 elements are
// no less: the 16th largest of the maxima of 32 groups. Few more than 16 pass it where the order is random.
func topCandidates() {
	TEXT("topCandidatesAVX512", NOSPLIT, "func(n int, x *float32, idx *int32) int")
	Pragma("noescape")
	Doc("topCandidatesAVX512 writes the positions of what may be the 16 largest of x, ascending, and returns how many they are; n is a",
		"positive multiple of 32, idx has room for n + 16.")
	v := avx512
	n, x, idx := Load(Param("n"), GP64()), ptr("x"), ptr("idx")
	at, i := GP64(), GP64()
	g := [2]VecVirtual{v.reg(), v.reg()}
	for j := range g {
		VMOVUPS(Mem{Base: x, Disp: j * v.bytes()}, g[j])
	}
	MOVQ(x, at)
	MOVQ(n, i)
	Label("maxima")
	SUBQ(Imm(32), i)
	JZ(LabelRef("sort"))
	ADDQ(U32(128), at)
	for j := range g {
		VMAXPS(Mem{Base: at, Disp: j * v.bytes()}, g[j], g[j])
	}
	JMP(LabelRef("maxima"))
	Label("sort")
	sortLanes(g[:])
	t := v.reg()
	VSHUFF32X4(Imm(0x1b), g[1], g[1], t) // the other way round
	VPERMILPS(Imm(0x1b), t, t)
	VMAXPS(t, g[0], t) // the 16 largest
	for _, s := range []struct {
		lanes bool
		imm   uint64
	}{{true, 0x4e}, {true, 0xb1}, {false, 0x4e}, {false, 0xb1}} {
		if s.lanes {
			VSHUFF32X4(Imm(s.imm), t, t, g[0])
		} else {
			VPERMILPS(Imm(s.imm), t, g[0])
		}
		VMINPS(g[0], t, t)
	}
	position, step, packed := v.reg(), v.reg(), v.reg()
	VMOVDQU32(positions(), position)
	MOVL(U32(16), i.As32())
	VPBROADCASTD(i.As32(), step)
	found, mask, count := GP64(), K(), GP64()
	XORQ(found, found)
	Label("candidates")
	VCMPPS(Imm(2), Mem{Base: x}, t, mask) // t ≤ x
	VPCOMPRESSD_Z(position, mask, packed)
	VMOVDQU32(packed, Mem{Base: idx, Index: found, Scale: 4})
	KMOVW(mask, count.As32())
	POPCNTL(count.As32(), count.As32())
	ADDQ(count, found)
	VPADDD(step, position, position)
	ADDQ(Imm(64), x)
	SUBQ(Imm(16), n)
	JNZ(LabelRef("candidates"))
	Store(found, ReturnIndex(0))
	VZEROUPPER()
	RET()
}

// positions is 0 to 15.
func positions() Mem {
	m := GLOBL("positions", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(i)))
	}
	return m
}

// sortLanes sorts the lanes of each vector in rising order (a bitonic network).
func sortLanes(x []VecVirtual) {
	larger := K()
	mask := GP32()
	other, least := make([]VecVirtual, len(x)), make([]VecVirtual, len(x))
	for i := range x {
		other[i], least[i] = avx512.reg(), avx512.reg()
	}
	for size := 2; size <= 16; size *= 2 {
		for d := size / 2; d > 0; d /= 2 {
			var m uint32 // the lanes that take the larger
			for i := range 16 {
				if (i&d != 0) == (i&size == 0) {
					m |= 1 << i
				}
			}
			MOVL(U32(m), mask)
			KMOVW(mask, larger)
			for i := range x {
				switch d {
				case 1:
					VPERMILPS(Imm(0xb1), x[i], other[i])
				case 2:
					VPERMILPS(Imm(0x4e), x[i], other[i])
				case 4:
					VSHUFF32X4(Imm(0xb1), x[i], x[i], other[i])
				case 8:
					VSHUFF32X4(Imm(0x4e), x[i], x[i], other[i])
				default:
					panic(fmt.Sprint("lanes ", d, " apart"))
				}
			}
			for i := range x {
				VMINPS(other[i], x[i], least[i])
				VMAXPS(other[i], x[i], larger, least[i])
				x[i], least[i] = least[i], x[i]
			}
		}
	}
}
