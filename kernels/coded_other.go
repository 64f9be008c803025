//go:build !amd64 || noasm

package kernels

// HasVNNI reports whether products with coded weights run in hardware (AVX512_VNNI) with the implementation in use.
func HasVNNI() bool { return false }

func quantiseRow(dst []byte, x []float32) { quantiseRowGeneric(dst, x) }

func mulCodes(rows, bits int, group, q []byte, ldq int, y []float32, ldy int, acc bool) {
	mulCodesGeneric(rows, bits, group, q, ldq, y, ldy, acc)
}
