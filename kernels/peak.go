package kernels

import "time"

// PeakF32 measures for about d how many f32 multiply-adds one thread of the implementation in use can make without
// touching memory, in floating-point operations a second (two a multiply-add). 0 for Generic.
func PeakF32(d time.Duration) float64 { return peakF32(d) }

// PeakBF16 is PeakF32 for bf16 products with f32 sums; 0 where the machine has none.
func PeakBF16(d time.Duration) float64 { return peakBF16Rate(d) }

// PeakInt8 is PeakF32 for products of 8-bit integers with 32-bit sums (VPDPBUSD), in operations a second; 0 where the
// machine has none.
func PeakInt8(d time.Duration) float64 { return peakInt8Rate(d) }

// ReadBandwidth measures for about d how fast one thread reads memory that no cache holds, in bytes a second.
func ReadBandwidth(d time.Duration) float64 {
	buf := make([]byte, 256<<20)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1 // so that every page is its own
	}
	return rate(d, float64(len(buf)), func() { readAll(buf) })
}

// rate calls f, which does work units, for about d and returns the best units a second.
func rate(d time.Duration, work float64, f func()) float64 {
	var best float64
	for end := time.Now().Add(d); ; {
		t := time.Now()
		f()
		if r := work / time.Since(t).Seconds(); r > best {
			best = r
		}
		if time.Now().After(end) {
			return best
		}
	}
}
