//go:build !noasm

package kernels

import "time"

// peakLoops is some tenths of a millisecond, less than the time between two interruptions.
const peakLoops = 1 << 16

func peakF32(d time.Duration) float64 {
	switch active {
	case AVX512:
		return rate(d, peakLoops*12*16*2, func() { fmaPeakAVX512(peakLoops) })
	case AVX2:
		return rate(d, peakLoops*12*8*2, func() { fmaPeakAVX2(peakLoops) })
	}
	return 0
}

func peakBF16Rate(d time.Duration) float64 {
	if !HasBF16() {
		return 0
	}
	if tilesBF16() {
		const loops = peakLoops / 16
		return rate(d, loops*6*amxRows*16*tilePairs*2*2, func() { peakAMX(tileConfig(amxRows, tilePairs), loops) })
	}
	return rate(d, peakLoops*24*32*2, func() { peakBF16(peakLoops) })
}

func peakInt8Rate(d time.Duration) float64 {
	if !HasVNNI() {
		return 0
	}
	return rate(d, peakLoops*12*64*2, func() { peakVNNI(peakLoops) })
}

func readAll(b []byte) {
	if active == Generic {
		readAllGeneric(b)
		return
	}
	readSum(&b[0], len(b)/512)
}
