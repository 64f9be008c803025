package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The tiles of a product: 16 × 16 sums, 16 rows of 32 values of x, and 16 columns of 32 codes, four values side by side.
const (
	tileSums, tileLow = 0, 1
	tileX, tileXLow   = 2, 3
	tileCodes         = 4
)

// The registers that address tiles: the bytes of an instruction name them, so that avo cannot choose them.
var (
	amxX, amxLD         = R8, R9   // rows of x and how far they are apart
	amxCodes, amxStride = R10, R11 // codes, and 64, the size of a row of sums or codes
	amxSums             = R12
)

// amxBytes emits an instruction of AMX, which Go's assembler lacks (Intel SDM, volume 2: VEX.128.pp.0F38.W0 opcode /r,
// where pp is 0 for none, 1 for 66, 2 for F3 and 3 for F2). tail are the bytes after the opcode; rex extends the
// registers in them.
func amxBytes(what string, pp, vvvv uint32, opcode byte, rex byte, in []Op, tail ...byte) {
	Comment(what)
	b := append([]byte{0xc4, 0xe2 &^ rex, byte(^vvvv&15<<3 | pp), opcode}, tail...)
	for i, x := range b {
		one := &ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(x)}}
		if i == 0 {
			one.Inputs = in
		}
		Instruction(one)
	}
}

const rexX, rexB = 0x40, 0x20

// tileMove loads or stores a tile: its rows stand at base and every stride from there.
func tileMove(what string, pp uint32, tile int, base, stride GPPhysical, disp int) {
	b, x := byte(base.PhysicalIndex()), byte(stride.PhysicalIndex())
	var rex byte
	if b >= 8 {
		rex |= rexB
	}
	if x >= 8 {
		rex |= rexX
	}
	d := uint32(disp)
	address := []byte{0x84 | byte(tile<<3), x&7<<3 | b&7, byte(d), byte(d >> 8), byte(d >> 16), byte(d >> 24)}
	if disp == int(int8(disp)) {
		address[0] -= 0x40
		address = address[:3]
	}
	at := fmt.Sprintf("%s tmm%d, %d(%s)(%s*1)", what, tile, disp, base.Asm(), stride.Asm())
	amxBytes(at, pp, 0, 0x4b, rex, []Op{base, stride}, address...)
}

func tileLoad(tile int, base, stride GPPhysical, disp int) {
	tileMove("TILELOADD", 3, tile, base, stride, disp)
}

func tileStore(tile int, base, stride GPPhysical, disp int) {
	tileMove("TILESTORED", 2, tile, base, stride, disp)
}

func tileZero(tile int) {
	amxBytes(fmt.Sprintf("TILEZERO tmm%d", tile), 3, 0, 0x49, 0, nil, 0xc0|byte(tile<<3))
}

// tileDot emits TDPBSUD: sums += x·codes, of signed and unsigned bytes.
func tileDot(sums, x, codes int) {
	amxBytes(fmt.Sprintf("TDPBSUD tmm%d, tmm%d, tmm%d", codes, x, sums), 2, uint32(codes), 0x5e, 0, nil, 0xc0|byte(sums<<3|x))
}

func tileRelease() { amxBytes("TILERELEASE", 0, 0, 0x49, 0, nil, 0xc0) }

var tileSizes Mem

// tileConfig tells the processor the tiles' sizes. It is part of a thread's state, so that a function sets it anew.
func tileConfig() {
	widths := [8]uint64{tileSums: 64, tileLow: 64, tileX: 32, tileXLow: 32, tileCodes: 64}
	heights := [8]uint64{tileSums: 16, tileLow: 16, tileX: 16, tileXLow: 16, tileCodes: 8}
	var wide [2]uint64
	var high uint64
	for i := range widths {
		wide[i/4] |= widths[i] << (16 * (i % 4))
		high |= heights[i] << (8 * i)
	}
	const palette = 1
	if tileSizes.Base == nil {
		tileSizes = table("tileSizes", palette, 0, wide[0], wide[1], 0, 0, high, 0)
	}
	LEAQ(tileSizes, amxSums)
	amxBytes("LDTILECFG (R12)", 0, 0, 0x49, rexB, []Op{amxSums}, 0x04, 0x24)
}

// tiled multiplies tiles of 16 rows of quantised x with 16 columns of codes, as one loop over the rows and one over the
// blocks: scale reads a block's scales, and row adds row i of its sums, times those, to acc.
type tiled struct {
	layout    quantised
	codesStep int // bytes from a block's codes to the next block's
	scaleStep int // bytes from a block's scales to the next block's
	scale     func(scales Register)
	row       func(i int, x func(disp int) Mem, scales Register, sums, low Mem, acc VecVirtual)
}

func (t tiled) function(name, doc string) {
	TEXT(name, NOSPLIT, "func(tiles, blocks int, w, scales, a *byte, lda int, c *float32, ldc int, acc bool, sums *int32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s multiplies tiles of 16 rows of %s.", name, doc))
	tileConfig()
	Load(Param("a"), amxX)
	Load(Param("lda"), amxLD)
	MOVQ(U64(64), amxStride)
	tiles, c := Load(Param("tiles"), GP64()), ptr("c")
	acc := make([]VecVirtual, 16)
	for i := range acc {
		acc[i] = ZMM()
	}
	Label("tiles")
	for _, v := range acc {
		VPXORD(v, v, v)
	}
	Load(Param("w"), amxCodes)
	Load(Param("sums"), amxSums)
	scales, blocks := ptr("scales"), Load(Param("blocks"), GP64())
	x := loadRows(amxX, amxLD, 16)
	parts := 1
	if t.layout == wide {
		parts = 2
	}
	// While a block's sums are on their way through memory, the next block is multiplied into the other half of sums.
	other := GP64()
	MOVQ(U64(uint64(parts*1024)), other)
	multiply := func() {
		tileLoad(tileCodes, amxCodes, amxStride, 0)
		for p := range parts {
			tileZero(tileSums + p)
			tileLoad(tileX+p, amxX, amxLD, 32*p)
			tileDot(tileSums+p, tileX+p, tileCodes)
		}
		for p := range parts {
			if p > 0 {
				ADDQ(U32(1024), amxSums)
			}
			tileStore(tileSums+p, amxSums, amxStride, 0)
		}
		if parts > 1 {
			SUBQ(U32(1024), amxSums)
		}
	}
	multiply()
	Label("loop")
	ADDQ(U32(uint32(t.codesStep)), amxCodes)
	x.advance(t.layout.bytes)
	ADDQ(other, amxSums)
	NEGQ(other)
	DECQ(blocks)
	JZ(LabelRef("add"))
	multiply()
	Label("add")
	t.scale(scales)
	for i, v := range acc {
		sums := func(tile int) Mem { return Mem{Base: amxSums, Index: other, Scale: 1, Disp: 1024*tile + 64*i} }
		t.row(i, func(disp int) Mem { return x.mem(i, disp-t.layout.bytes) }, scales, sums(tileSums), sums(tileLow), v)
	}
	ADDQ(U32(uint32(t.scaleStep)), scales)
	TESTQ(blocks, blocks)
	JNZ(LabelRef("loop"))
	ldc, add, to := Load(Param("ldc"), GP64()), Load(Param("acc"), GP8()), GP64()
	SHLQ(Imm(2), ldc)
	TESTB(add, add)
	JZ(LabelRef("overwrite"))
	MOVQ(c, to)
	for _, v := range acc {
		VADDPS(Mem{Base: to}, v, v)
		ADDQ(ldc, to)
	}
	Label("overwrite")
	for _, v := range acc {
		VMOVUPS(v, Mem{Base: c})
		ADDQ(ldc, c)
	}
	// Back to the first block, and on to the next 16 rows.
	Load(Param("blocks"), blocks)
	IMUL3Q(Imm(uint64(t.layout.bytes)), blocks, blocks)
	SUBQ(blocks, amxX)
	MOVQ(amxLD, to)
	SHLQ(Imm(4), to)
	ADDQ(to, amxX)
	DECQ(tiles)
	JNZ(LabelRef("tiles"))
	tileRelease()
	VZEROUPPER()
	RET()
}

// codesTiled is codes by tiles. The scales are those of the group; codes of 8 bits stand behind them, and those of 4 bits
// have been widened.
func codesTiled(bits int, l quantised) {
	t := tiled{layout: l, codesStep: 512, scaleStep: 4*codeRows + codeRows*32*bits/8}
	if bits == 8 {
		t.codesStep = t.scaleStep
	}
	d, m := ZMM(), ZMM()
	t.scale = func(scales Register) {
		VCVTPH2PS(Mem{Base: scales}, d)
		VCVTPH2PS(Mem{Base: scales, Disp: 2 * codeRows}, m)
		if l == narrow {
			VMULPS_BCST(word("codeWhole", math.Float32bits(256)), d, d)
		}
	}
	sum, s := []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}, []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}
	t.row = func(i int, x func(disp int) Mem, _ Register, sums, low Mem, acc VecVirtual) {
		sum, s := sum[i%4], s[i%4]
		if l == wide {
			VPSLLD(Imm(8), sums, sum)
			VPADDD(low, sum, sum)
			VCVTDQ2PS(sum, sum)
		} else {
			VCVTDQ2PS(sums, sum)
		}
		VMULPS_BCST(x(l.words), d, s)
		VFMADD231PS(s, sum, acc)
		VFMADD231PS_BCST(x(l.words+4), m, acc)
	}
	t.function(fmt.Sprintf("codes%d%sAMX", bits, l.name), fmt.Sprintf("quantised x with a group of %d-bit codes", bits))
}

// biasedTiled is biasedProduct by tiles.
func biasedTiled() {
	t := tiled{layout: biased, codesStep: 512, scaleStep: 4, scale: func(Register) {}}
	sum := []VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}
	t.row = func(i int, x func(disp int) Mem, scales Register, sums, _ Mem, acc VecVirtual) {
		sum := sum[i%4]
		VPBROADCASTD(x(biased.words+4), sum)
		VPADDD(sums, sum, sum)
		VCVTDQ2PS(sum, sum)
		VMULPS_BCST(x(biased.words), sum, sum)
		VFMADD231PS_BCST(Mem{Base: scales}, sum, acc)
	}
	t.function("biasedAMX", "quantised x with 16 columns of biased bytes")
}

// widenCodes writes blocks of a group's codes of 4 bits as bytes.
func widenCodes() {
	TEXT("widenCodesAVX512", NOSPLIT, "func(blocks int, w, dst *byte)")
	Pragma("noescape")
	Doc("widenCodesAVX512 writes blocks of a group of 4-bit codes as bytes.")
	blocks, w, dst := Load(Param("blocks"), GP64()), ptr("w"), ptr("dst")
	mask := avx512.constant("codeMask", 0x0f0f0f0f)
	low, high := ZMM(), ZMM()
	Label("loop")
	for i := range 4 {
		VMOVDQU32(Mem{Base: w, Disp: 4*codeRows + 64*i}, low)
		VPSRLW(Imm(4), low, high)
		VPANDD(mask, low, low)
		VPANDD(mask, high, high)
		VMOVDQU32(low, Mem{Base: dst, Disp: 64 * i})
		VMOVDQU32(high, Mem{Base: dst, Disp: 64 * (4 + i)})
	}
	ADDQ(U32(4*codeRows+256), w)
	ADDQ(U32(512), dst)
	DECQ(blocks)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
