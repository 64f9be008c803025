package kernels

import (
	"slices"
	"testing"
)

// TestAttentionInParts: a sequence read in parts of any length, as with a cache, down to one token at a time, has the bits
// of the whole.
func TestAttentionInParts(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, h := range []Heads{{Heads: 3, KV: 1, Dim: 64, Scale: 0.125}, {Heads: 2, KV: 2, Dim: 20, Scale: 0.2},
			{Heads: 2, KV: 1, Dim: 16, Scale: 0.25, Window: 70}, {Heads: 2, KV: 1, Dim: 16, Scale: 0.25, Window: blockKeys + 1, Cap: 2}} {
			const n = 2*blockKeys + 11
			ldq, ldkv := h.Heads*h.Dim, h.KV*h.Dim
			rnd := rng(5)
			q, k, v := randn(rnd, n*ldq), randn(rnd, n*ldkv), randn(rnd, n*ldkv)
			Scale(4, q) // so that now and then a later block has the largest score
			read := func(part int) []float32 {
				o := make([]float32, n*ldq)
				for at := 0; at < n; at += part {
					Attention(nil, o[at*ldq:], ldq, q[at*ldq:], ldq, k, v, ldkv, []Span{{Len: min(part, n-at), Past: at}}, h, nil)
				}
				return o
			}
			whole := read(n)
			for _, part := range []int{1, 3, 7, 32, 100, blockKeys} {
				if got := read(part); !slices.Equal(got, whole) {
					t.Errorf("%+v in parts of %d: other bits", h, part)
				}
			}
		}
	})
}
