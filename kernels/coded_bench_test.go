package kernels

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkMulCoded reports the best rate of products with codes and its share of the peak of 8-bit ones measured just
// before.
func BenchmarkMulCoded(b *testing.B) {
	defer func(was ISA) { _ = Use(was) }(Active())
	for _, isa := range Supported() {
		if isa < AVX512 {
			continue
		}
		for _, bits := range []int{4, 8} {
			for _, s := range [][3]int{{1, 3072, 576}, {8, 3072, 576}, {16, 1536, 576}, {1024, 1536, 576}, {1024, 576, 1536}} {
				m, n, k := s[0], s[1], s[2]
				c, _ := randomCodes(rand.New(rand.NewPCG(1, 1)), n, k, bits)
				w, err := PackCodes(nil, c)
				if err != nil {
					b.Fatal(err)
				}
				x, y := randn(rng(3), m*k), make([]float32, m*n)
				for name, f := range map[string]func(){
					"codes": func() { MulCoded(nil, y, x, m, w, false) },
					"high":  func() { MulCodedHigh(nil, y, x, m, w, false) },
					"back":  func() { MulCodedBack(nil, x, y, m, w, false) },
				} {
					b.Run(fmt.Sprintf("%v/%dbit/%s/%dx%dx%d", isa, bits, name, m, n, k), func(b *testing.B) {
						if err := Use(isa); err != nil {
							b.Fatal(err)
						}
						peak := PeakInt8(20 * time.Millisecond)
						b.SetBytes(int64(w.Bytes()))
						best := 0.0 // of the calls, as the peak is: other work on the machine stays out of both
						for b.Loop() {
							t := time.Now()
							f()
							best = max(best, 2*float64(m*n*k)/time.Since(t).Seconds())
						}
						b.ReportMetric(best/1e9, "GOP/s")
						if peak > 0 {
							b.ReportMetric(best/peak, "of-peak")
						}
					})
				}
			}
		}
	}
}
