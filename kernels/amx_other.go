//go:build !amd64 || noasm

package kernels

const amxRows, amxSums = 16, 0

func tilesOf(int) int { return 0 }

func mulCodesTiled(rows, bits int, high bool, group, q []byte, ldq int, y []float32, ldy int, acc bool, _ []byte) {
	mulCodesGeneric(rows, bits, high, group, q, ldq, y, ldy, acc)
}

func mulBiasedTiled(rows, blocks int, w []byte, scales []float32, q []byte, ldq int, y []float32, ldy int, acc bool, _ []byte) {
	mulBiasedGeneric(rows, blocks, w, scales, q, ldq, y, ldy, acc)
}
