//go:build !noasm

package kernels

import "unsafe"

// amxRows is how many rows a product by tiles takes at a time.
const amxRows = 16

// amxSums is the size of the place for two blocks' sums of a tile, of high parts and low ones.
const amxSums = 4 * amxRows * codeRows * 4

// tilesOf returns how many of m rows are multiplied by tiles: all but the last few, where there are tiles.
func tilesOf(m int) int {
	if !tiles {
		return 0
	}
	return m &^ (amxRows - 1)
}

// mulCodesTiled is mulCodes for rows, a multiple of 16, that makes codes of 4 bits wide once for all of them: scratch has
// room for sums and, after them, for that, and begins at a cache line.
func mulCodesTiled(rows, bits int, high bool, group, q []byte, ldq int, y []float32, ldy int, acc bool, scratch []byte) {
	size := 4*codeRows + codeRows*codeBlock*bits/8
	blocks := len(group) / size
	if blocks == 0 {
		mulCodesGeneric(rows, bits, high, group, q, ldq, y, ldy, acc)
		return
	}
	_, _ = q[(rows-1)*ldq+blocks*partsOf(high).bytes()-1], y[(rows-1)*ldy+codeRows-1]
	n, d, x, c, s := rows/amxRows, &group[0], &q[0], &y[0], (*int32)(unsafe.Pointer(&scratch[0]))
	if bits == 8 {
		w := &group[4*codeRows]
		if high {
			codes8HighAMX(n, blocks, w, d, x, ldq, c, ldy, acc, s)
		} else {
			codes8AMX(n, blocks, w, d, x, ldq, c, ldy, acc, s)
		}
		return
	}
	_ = scratch[amxSums+blocks*codeBlock*codeRows-1]
	w := &scratch[amxSums]
	widenCodesAVX512(blocks, d, w)
	if high {
		codes4HighAMX(n, blocks, w, d, x, ldq, c, ldy, acc, s)
	} else {
		codes4AMX(n, blocks, w, d, x, ldq, c, ldy, acc, s)
	}
}

// mulBiasedTiled is mulBiased for rows, a multiple of 16.
func mulBiasedTiled(rows, blocks int, w []byte, scales []float32, q []byte, ldq int, y []float32, ldy int, acc bool, scratch []byte) {
	if blocks == 0 {
		mulBiasedGeneric(rows, blocks, w, scales, q, ldq, y, ldy, acc)
		return
	}
	_, _ = w[blocks*codeBlock*codeRows-1], scales[blocks-1]
	_, _ = q[(rows-1)*ldq+blocks*bytes8-1], y[(rows-1)*ldy+codeRows-1]
	_ = scratch[amxSums-1]
	d, s := (*byte)(unsafe.Pointer(&scales[0])), (*int32)(unsafe.Pointer(&scratch[0]))
	biasedAMX(rows/amxRows, blocks, &w[0], d, &q[0], ldq, &y[0], ldy, acc, s)
}
