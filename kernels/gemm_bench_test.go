package kernels

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkMulPacked reports beside the rate its share of the peak measured just before.
func BenchmarkMulPacked(b *testing.B) {
	defer func(was ISA) { _ = Use(was) }(Active())
	for _, isa := range Supported() {
		for _, prec := range []Precision{F32, BF16} {
			for _, s := range [][3]int{{256, 1536, 576}, {256, 576, 1536}, {1, 49152, 576}} {
				for _, threads := range []int{1, 2} {
					m, n, k := s[0], s[1], s[2]
					b.Run(fmt.Sprintf("%v/%v/%dx%dx%d/%d", isa, prec, m, n, k, threads), func(b *testing.B) {
						if err := Use(isa); err != nil {
							b.Fatal(err)
						}
						p := NewPool(threads)
						defer p.Close()
						rnd := rng(3)
						x, y, w := randn(rnd, m*k), make([]float32, m*n), PackNT(nil, randn(rnd, n*k), n, k, prec)
						peak := PeakF32(20 * time.Millisecond)
						if prec == BF16 && HasBF16() {
							peak = PeakBF16(20 * time.Millisecond)
						}
						b.ReportAllocs()
						for b.Loop() {
							MulPacked(p, y, x, m, w, false)
						}
						calls := float64(b.N) / b.Elapsed().Seconds()
						rate := 2 * float64(m*n*k) * calls
						b.ReportMetric(rate/1e9, "GFLOP/s")
						b.ReportMetric(float64(w.Bytes())*calls/1e9, "GB/s")
						if peak > 0 {
							b.ReportMetric(rate/(peak*float64(threads)), "of-peak")
						}
					})
				}
			}
		}
	}
}

// BenchmarkMatMul times the plain products at the shape of a weight's gradient.
func BenchmarkMatMul(b *testing.B) {
	const m, n, k = 1536, 576, 1024
	rnd := rng(4)
	x, y, c := randn(rnd, m*k), randn(rnd, n*k), make([]float32, m*n)
	for name, f := range map[string]func(p *Pool, c, a, b []float32, m, n, k int, accumulate bool){"NT": MatMulNT, "NN": MatMulNN, "TN": MatMulTN} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f(nil, c, x, y, m, n, k, true)
			}
			b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

// BenchmarkPack times the layout of a weight, as when a model is opened.
func BenchmarkPack(b *testing.B) {
	const n, k = 1536, 576
	v := randn(rng(5), n*k)
	for _, prec := range []Precision{F32, BF16} {
		for _, nn := range []bool{false, true} {
			b.Run(fmt.Sprintf("%v/NN=%v", prec, nn), func(b *testing.B) {
				w := PackNT(nil, v, n, k, prec)
				b.SetBytes(4 * n * k)
				for b.Loop() {
					w.Repack(nil, v, nn)
				}
			})
		}
	}
}
