package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFromCodes: products with a weight in its codes have the bits of those with its values packed in bf16; where the
// packed ones are multiplied as f32, sums are in another order.
func TestFromCodes(t *testing.T) {
	each(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 1))
		p := NewPool(2)
		defer p.Close()
		for _, bits := range []int{4, 8} {
			for _, s := range [][3]int{{1, 16, 32}, {9, 48, 576}, {3, 40, 64}, {8, 33, 96}, {13, 100, 160}, {70, 192, 64}, {2, 5, 32}, {3, 64, 2080}, {3, 2100, 96}} {
				m, n, k := s[0], s[1], s[2]
				c, w := randomCodes(rnd, n, k, bits)
				coded, err := PackCodes(p, c)
				if err != nil {
					t.Fatal(err)
				}
				for _, turned := range []bool{false, true} {
					got := FromCodes(coded, turned)
					want := PackNT(p, w, n, k, BF16)
					if turned {
						want = PackNN(p, w, n, k, BF16)
					}
					x, y := make([]float32, m*got.K), make([]float32, m*got.N)
					for i := range x {
						x[i] = float32(rnd.NormFloat64())
					}
					for i := range y {
						y[i] = float32(rnd.NormFloat64())
					}
					z := slices.Clone(y)
					for _, accumulate := range []bool{true, false} {
						MulPacked(p, y, x, m, got, accumulate)
						MulPacked(p, z, x, m, want, accumulate)
						if i := firstOther(y, z); HasBF16() && i >= 0 {
							t.Fatalf("%d bits, %v, turned %v, accumulate %v: value %d is %g, packed %g", bits, s, turned, accumulate, i, y[i], z[i])
						}
						for i := range y {
							if d := math.Abs(float64(y[i] - z[i])); d > 1e-5*float64(got.K)*math.Ldexp(1, bits) {
								t.Fatalf("%d bits, %v, turned %v, accumulate %v: value %d is %g, packed %g", bits, s, turned, accumulate, i, y[i], z[i])
							}
						}
					}
				}
			}
		}
	})
}

func firstOther(a, b []float32) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
