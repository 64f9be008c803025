package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestNorms compares with the definitions in float64; the gradients must not depend on threads, and are added where
// that is asked for.
func TestNorms(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			tokens, dim := rapid.IntRange(0, 40).Draw(rt, "tokens"), rapid.SampledFrom([]int{1, 2, 15, 16, 100, 257}).Draw(rt, "dim")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			x, dy, w, b := randn(rnd, tokens*dim), randn(rnd, tokens*dim), randn(rnd, dim), randn(rnd, dim)
			const eps = 1e-3
			rms, layer := make([]float32, len(x)), make([]float32, len(x))
			for r := range tokens {
				var sum, square float64
				for _, v := range x[r*dim : (r+1)*dim] {
					sum += float64(v)
					square += float64(v) * float64(v)
				}
				n := float64(dim)
				mean := sum / n
				variance := square/n - mean*mean
				for i, v := range x[r*dim : (r+1)*dim] {
					rms[r*dim+i] = float32(float64(v) / math.Sqrt(square/n+eps) * float64(w[i]))
					layer[r*dim+i] = float32((float64(v)-mean)/math.Sqrt(variance+eps)*float64(w[i]) + float64(b[i]))
				}
			}
			y, rstd := make([]float32, len(x)), make([]float32, tokens)
			run := func(p *Pool, accumulate bool) [][]float32 {
				dx, dw, db := slices.Clone(x), slices.Clone(w), slices.Clone(b)
				RMSNorm(p, y, x, w, tokens, dim, eps, rstd)
				near(t, "RMSNorm", y, rms, 1e-5)
				RMSNormAdd(p, y, x, x, w, tokens, dim, eps, rstd)
				AddRow(p, y, b, tokens, dim)
				for i, v := range y {
					y[i] = v - x[i] - b[i%dim]
				}
				near(t, "RMSNormAdd and AddRow", y, rms, 1e-5)
				RMSNormBackward(p, dx, dy, x, w, rstd, tokens, dim, accumulate, dw)
				lx, lw := slices.Clone(x), slices.Clone(w)
				LayerNorm(p, y, x, w, b, tokens, dim, eps, rstd)
				near(t, "LayerNorm", y, layer, 1e-5)
				LayerNormBackward(p, lx, dy, x, w, rstd, tokens, dim, accumulate, lw, db)
				return [][]float32{dx, dw, lx, lw, db}
			}
			one, added := run(nil, false), run(pool, true)
			for i, got := range run(pool, false) {
				if !slices.Equal(got, one[i]) {
					rt.Fatalf("threads change the bits of gradient %d", i)
				}
			}
			for _, i := range []int{0, 2} { // dx onto x
				Add(one[i], one[i], x)
				near(t, "added gradient", added[i], one[i], 1e-5)
			}
		})
	})
}
