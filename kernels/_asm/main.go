// Command asm writes the assembly of package kernels: run `go generate` there.
package main

import . "github.com/mmcloughlin/avo/build"

func main() {
	ConstraintExpr("!noasm")
	for _, v := range []vector{avx2, avx512} {
		v.dot()
		v.axpy()
		v.dotBF16()
		v.axpyBF16()
		v.binary("add")
		v.binary("mul")
		v.mulScale()
		v.max()
		v.expSum()
		v.silu()
		v.swiglu()
		v.swigluBackward()
		v.adam()
		v.toBF16()
		v.fromBF16()
		v.fmaPeak()
		v.gatherDot()
		v.gatherAxpy()
		v.scatterAxpy()
	}
	for _, rows := range []int{8, 4, 2, 1} {
		gemmF32(avx512, rows, 3)
	}
	for _, rows := range []int{4, 2, 1} {
		gemmF32(avx2, rows, 3)
	}
	for _, rows := range []int{8, 4, 2, 1} {
		gemmBF16(rows)
	}
	peakBF16()
	readSum()
	Generate()
}
