//go:build !amd64 || noasm

package kernels

// HasVNNI reports whether products with coded weights run in hardware (AVX512_VNNI) with the implementation in use.
func HasVNNI() bool { return false }

func quantiseRow(dst []byte, x []float32, l layout) { quantiseRowGeneric(dst, x, l) }

func mulCodes(rows, bits int, high bool, group, q []byte, ldq int, y []float32, ldy int, acc bool) {
	mulCodesGeneric(rows, bits, high, group, q, ldq, y, ldy, acc)
}

func unpackCodes(dst []uint16, group []byte, bits, blocks int) {
	unpackCodesGeneric(dst, group, bits, blocks)
}

func unpackColumns(dst []uint16, from []byte, bits, half, groups, stride int) {
	unpackColumnsGeneric(dst, from, bits, half, groups, stride)
}

func unpackBiased(first, second []byte, scales []float32, from []byte, bits, stride, pairs int) {
	unpackBiasedGeneric(first, second, scales, from, bits, stride, pairs)
}

func mulBiased(rows, blocks int, w []byte, scales []float32, q []byte, ldq int, y []float32, ldy int, acc bool) {
	mulBiasedGeneric(rows, blocks, w, scales, q, ldq, y, ldy, acc)
}
