package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAttentionHeld: keys that were put by as they came give the bits that rows of them give, whatever lies behind them.
func TestAttentionHeld(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			h := drawHeads(rt)
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			ldq, ldkv := h.Heads*h.Dim+3, h.KV*h.Dim+1
			var k, v []float32
			held := []float32{}
			for past := 0; past < 450; {
				n := rapid.SampledFrom([]int{1, 1, 2, 5, 47, 48, 150, 200}).Draw(rt, "tokens")
				k, v = append(k, randn(rnd, n*ldkv)...), append(v, randn(rnd, n*ldkv)...)
				for len(held) < HeldTokens(past+n)*h.KV*h.Dim {
					held = append(held, float32(math.NaN()))
				}
				StoreKeys(held, past, k[past*ldkv:], ldkv, n, h.KV, h.Dim)
				q := randn(rnd, n*ldq)
				got, want, span := make([]float32, n*ldq), make([]float32, n*ldq), []Span{{Len: n, Past: past}}
				AttentionHeld(two, got, ldq, q, ldq, held, v, ldkv, span, h)
				Attention(nil, want, ldq, q, ldq, k, v, ldkv, span, h, nil)
				if !slices.Equal(got, want) {
					rt.Fatalf("%d tokens after %d: other bits", n, past)
				}
				past += n
			}
		})
	})
}
