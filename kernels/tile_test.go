package kernels

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestStridedProducts covers a and its transpose, gaps between rows, and more than one block of k.
func TestStridedProducts(t *testing.T) {
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, n := rapid.IntRange(0, 20).Draw(rt, "m"), rapid.SampledFrom([]int{0, 1, 7, 8, 16, 20, 32, 64, 75}).Draw(rt, "n")
			k := rapid.SampledFrom([]int{0, 1, 5, 64, tileK, tileK + 1, 2*tileK + 3}).Draw(rt, "k")
			gap := rapid.IntRange(0, 3).Draw(rt, "gap")
			acc := rapid.Bool().Draw(rt, "acc")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			ldb, ldc := n+gap, n+gap
			b, c := randn(rnd, k*ldb), randn(rnd, m*ldc)
			for _, a := range []strided{{randn(rnd, m*(k+gap)), k + gap, 1}, {randn(rnd, k*(m+gap)), 1, m + gap}} {
				got := slices.Clone(c)
				mulRows(got, ldc, a, b, ldb, m, n, k, acc)
				want := slices.Clone(c)
				for i := range m {
					row := productRef(c[i*ldc:][:n], a.x[min(i*a.rows, len(a.x)):], b, 1, n, k, 0, a.cols, 1, ldb, acc)
					copy(want[i*ldc:], row)
					alone := slices.Clone(c[i*ldc:][:n])
					mulRows(alone, n, strided{a.x[min(i*a.rows, len(a.x)):], a.rows, a.cols}, b, ldb, 1, n, k, acc)
					if !slices.Equal(alone, got[i*ldc:][:n]) {
						rt.Fatalf("row %d alone differs from row %d of %d", i, i, m)
					}
				}
				near(t, fmt.Sprintf("%d×%d×%d", m, n, k), got, want, 1e-5)
			}
		})
	})
}
