// Command asm writes the assembly of package kernels: run `go generate` there.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	group := flag.String("group", "vec", "the kernels to write: vec or gemm")
	flag.Parse()
	ConstraintExpr("!noasm")
	if *group == "gemm" {
		products()
	} else {
		vectors()
	}
	Generate()
}

// vectors writes the elementwise and gathering kernels.
func vectors() {
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
		v.scale()
		v.subMul()
		v.siluBackward()
		v.rotate()
		for nv := 1; nv <= 2; nv++ {
			for _, rows := range []int{8, 4, 1} {
				if rows <= v.regs/4 { // with 16 registers, four rows
					v.tile(rows, nv)
				}
			}
		}
		v.softmaxGrad()
		v.maxRows()
		v.expRows(false)
		v.gatherDot()
		v.gatherAxpy()
		v.scatterAxpy()
		v.gatherDotBF16()
		v.gatherAxpyBF16()
	}
	for rows := 1; rows <= 6; rows++ {
		avx512.tile(rows, 4)
	}
	attentionBF16()
	topCandidates()
}
