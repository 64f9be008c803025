package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRoPE compares with the definition in float64, over strides, odd widths and threads.
func TestRoPE(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			const maxPos = 12
			tokens, heads := rapid.IntRange(0, 40).Draw(rt, "tokens"), rapid.IntRange(1, 3).Draw(rt, "heads")
			half := rapid.SampledFrom([]int{1, 3, 8, 16, 20, 32}).Draw(rt, "half")
			dim := 2 * half
			ld := heads*dim + rapid.IntRange(0, 5).Draw(rt, "gap")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			angle := make([]float64, maxPos*half)
			cos, sin := make([]float32, len(angle)), make([]float32, len(angle))
			for i := range angle {
				angle[i] = rnd.Float64() * 7
				cos[i], sin[i] = float32(math.Cos(angle[i])), float32(math.Sin(angle[i]))
			}
			pos := make([]int32, tokens)
			for i := range pos {
				pos[i] = int32(rnd.IntN(maxPos))
			}
			x := randn(rnd, tokens*ld)
			want := slices.Clone(x)
			for tok := range tokens {
				for h := range heads {
					for i := range half {
						a, b := tok*ld+h*dim+i, tok*ld+h*dim+half+i
						s, c := math.Sincos(angle[int(pos[tok])*half+i])
						want[a] = float32(float64(x[a])*c - float64(x[b])*s)
						want[b] = float32(float64(x[b])*c + float64(x[a])*s)
					}
				}
			}
			got, par := slices.Clone(x), slices.Clone(x)
			RoPE(nil, got, ld, tokens, heads, dim, pos, cos, sin)
			RoPE(two, par, ld, tokens, heads, dim, pos, cos, sin)
			if !slices.Equal(got, par) {
				rt.Fatal("threads change the bits")
			}
			near(t, "rotated", got, want, 2e-6)
			RoPEBackward(nil, got, ld, tokens, heads, dim, pos, cos, sin) // a rotation's gradient is its inverse
			near(t, "turned back", got, x, 2e-6)
		})
	})
}

// TestRoPEIsRelative: the product of a query and a key depends on the distance of their positions alone.
func TestRoPEIsRelative(t *testing.T) {
	each(t, func(t *testing.T) {
		const dim, maxPos = 64, 40
		cos, sin := make([]float32, maxPos*dim/2), make([]float32, maxPos*dim/2)
		for p := range maxPos {
			for i := range dim / 2 {
				s, c := math.Sincos(float64(p) * math.Pow(10000, -2*float64(i)/dim))
				cos[p*dim/2+i], sin[p*dim/2+i] = float32(c), float32(s)
			}
		}
		x := randn(rng(3), 2*dim)
		score := func(a, b int32) float32 {
			y := slices.Clone(x)
			RoPE(nil, y, dim, 2, 1, dim, []int32{a, b}, cos, sin)
			return Dot(y[:dim], y[dim:])
		}
		near(t, "score", []float32{score(12, 5), score(39, 32)}, []float32{score(7, 0), score(7, 0)}, 2e-5)
	})
}
