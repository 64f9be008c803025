//go:build !noasm

package kernels

import "golang.org/x/sys/cpu"

// HasVNNI reports whether products with coded weights run in hardware (AVX512_VNNI) with the implementation in use.
func HasVNNI() bool { return active == AVX512 && cpu.X86.HasAVX512VNNI }

func quantiseRow(dst []byte, x []float32, l layout) {
	blocks := len(x) / codeBlock
	if active != AVX512 || blocks == 0 {
		quantiseRowGeneric(dst, x, l)
		return
	}
	_ = dst[blocks*l.bytes()-1]
	switch l {
	case parts16:
		quantiseAVX512(blocks, &x[0], &dst[0])
	case parts8:
		quantiseHighAVX512(blocks, &x[0], &dst[0])
	default:
		quantiseBiasedAVX512(blocks, &x[0], &dst[0])
	}
}

// mulCodes multiplies 8, 4 or 1 rows with one group; high leaves the low parts out, and takes 16 rows too.
func mulCodes(rows, bits int, high bool, group, q []byte, ldq int, y []float32, ldy int, acc bool) {
	blocks := len(group) / (4*codeRows + codeRows*codeBlock*bits/8)
	if !HasVNNI() || blocks == 0 {
		mulCodesGeneric(rows, bits, high, group, q, ldq, y, ldy, acc)
		return
	}
	_, _ = q[(rows-1)*ldq+blocks*partsOf(high).bytes()-1], y[(rows-1)*ldy+codeRows-1]
	w, x, c := &group[0], &q[0], &y[0]
	if bits == 4 {
		switch {
		case high && rows == 16:
			codes4x16HighVNNI(blocks, w, x, ldq, c, ldy, acc)
		case high && rows == 8:
			codes4x8HighVNNI(blocks, w, x, ldq, c, ldy, acc)
		case high && rows == 4:
			codes4x4HighVNNI(blocks, w, x, ldq, c, ldy, acc)
		case high:
			codes4x1HighVNNI(blocks, w, x, ldq, c, ldy, acc)
		case rows == 8:
			codes4x8VNNI(blocks, w, x, ldq, c, ldy, acc)
		case rows == 4:
			codes4x4VNNI(blocks, w, x, ldq, c, ldy, acc)
		default:
			codes4x1VNNI(blocks, w, x, ldq, c, ldy, acc)
		}
		return
	}
	switch {
	case high && rows == 16:
		codes8x16HighVNNI(blocks, w, x, ldq, c, ldy, acc)
	case high && rows == 8:
		codes8x8HighVNNI(blocks, w, x, ldq, c, ldy, acc)
	case high && rows == 4:
		codes8x4HighVNNI(blocks, w, x, ldq, c, ldy, acc)
	case high:
		codes8x1HighVNNI(blocks, w, x, ldq, c, ldy, acc)
	case rows == 8:
		codes8x8VNNI(blocks, w, x, ldq, c, ldy, acc)
	case rows == 4:
		codes8x4VNNI(blocks, w, x, ldq, c, ldy, acc)
	default:
		codes8x1VNNI(blocks, w, x, ldq, c, ldy, acc)
	}
}

func unpackCodes(dst []uint16, group []byte, bits, blocks int) {
	size := 4*codeRows + codeRows*codeBlock*bits/8
	if active != AVX512 || blocks == 0 {
		unpackCodesGeneric(dst, group, bits, blocks)
		return
	}
	_, _ = group[blocks*size-1], dst[(blocks*codeBlock/2-1)*2*panel+2*codeRows-1]
	if bits == 4 {
		unpackCodes4AVX512(blocks, &group[0], &dst[0])
	} else {
		unpackCodes8AVX512(blocks, &group[0], &dst[0])
	}
}

func unpackColumns(dst []uint16, from []byte, bits, half, groups, stride int) {
	if active != AVX512 || groups == 0 {
		unpackColumnsGeneric(dst, from, bits, half, groups, stride)
		return
	}
	_, _ = from[(groups-1)*stride+4*codeRows+codeRows*codeBlock*bits/8-1], dst[(groups*codeRows/2-1)*2*panel+2*codeRows-1]
	if bits == 4 {
		unpackColumns4AVX512(groups, &from[0], &from[4*codeRows], stride, 4*half, &dst[0])
	} else {
		unpackColumns8AVX512(groups, &from[0], &from[4*codeRows+half*codeRows*codeBlock/2], stride, 0, &dst[0])
	}
}

func unpackBiased(first, second []byte, scales []float32, from []byte, bits, stride, pairs int) {
	if active != AVX512 || pairs == 0 {
		unpackBiasedGeneric(first, second, scales, from, bits, stride, pairs)
		return
	}
	const block = codeBlock * codeRows
	_, _, _ = first[pairs*block-1], second[pairs*block-1], scales[pairs-1]
	_ = from[(2*pairs-1)*stride+4*codeRows+codeRows*codeBlock*bits/8-1]
	if bits == 4 {
		unpackBiased4AVX512(pairs, &from[0], stride, &first[0], &second[0], &scales[0])
	} else {
		unpackBiased8AVX512(pairs, &from[0], stride, &first[0], &second[0], &scales[0])
	}
}

// mulBiased multiplies 16, 8, 4 or 1 rows with 16 columns.
func mulBiased(rows, blocks int, w []byte, scales []float32, q []byte, ldq int, y []float32, ldy int, acc bool) {
	if !HasVNNI() || blocks == 0 {
		mulBiasedGeneric(rows, blocks, w, scales, q, ldq, y, ldy, acc)
		return
	}
	_, _ = w[blocks*codeBlock*codeRows-1], scales[blocks-1]
	_, _ = q[(rows-1)*ldq+blocks*bytes8-1], y[(rows-1)*ldy+codeRows-1]
	b, x, c := &w[0], &q[0], &y[0]
	switch rows {
	case 16:
		biased16VNNI(blocks, b, &scales[0], x, ldq, c, ldy, acc)
	case 8:
		biased8VNNI(blocks, b, &scales[0], x, ldq, c, ldy, acc)
	case 4:
		biased4VNNI(blocks, b, &scales[0], x, ldq, c, ldy, acc)
	default:
		biased1VNNI(blocks, b, &scales[0], x, ldq, c, ldy, acc)
	}
}
