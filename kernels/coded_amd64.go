//go:build !noasm

package kernels

import "golang.org/x/sys/cpu"

// HasVNNI reports whether products with coded weights run in hardware (AVX512_VNNI) with the implementation in use.
func HasVNNI() bool { return active == AVX512 && cpu.X86.HasAVX512VNNI }

func quantiseRow(dst []byte, x []float32) {
	blocks := len(x) / codeBlock
	if active != AVX512 || blocks == 0 {
		quantiseRowGeneric(dst, x)
		return
	}
	_ = dst[blocks*quantisedBytes-1]
	quantiseAVX512(blocks, &x[0], &dst[0])
}

// mulCodes multiplies 8, 4 or 1 rows with one group.
func mulCodes(rows, bits int, group, q []byte, ldq int, y []float32, ldy int, acc bool) {
	blocks := len(group) / (4*codeRows + codeRows*codeBlock*bits/8)
	if !HasVNNI() || blocks == 0 {
		mulCodesGeneric(rows, bits, group, q, ldq, y, ldy, acc)
		return
	}
	_, _ = q[(rows-1)*ldq+blocks*quantisedBytes-1], y[(rows-1)*ldy+codeRows-1]
	switch {
	case bits == 4 && rows == 8:
		codes4x8VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	case bits == 4 && rows == 4:
		codes4x4VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	case bits == 4:
		codes4x1VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	case rows == 8:
		codes8x8VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	case rows == 4:
		codes8x4VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	default:
		codes8x1VNNI(blocks, &group[0], &q[0], ldq, &y[0], ldy, acc)
	}
}
