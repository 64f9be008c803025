package kernels

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAttention times heads of SmolLM2 on one thread, as in training and as in reading a prompt with a cache, and
// reports the best rate of the products that the causal mask leaves, and its share of the f32 peak measured just before.
// The best of runs of some milliseconds says more than their mean where other programs run.
func BenchmarkAttention(b *testing.B) {
	for _, prec := range []Precision{F32, BF16} {
		h := Heads{Heads: 9, KV: 3, Dim: 64, Scale: 0.125, Precision: prec}
		benchAttention(b, fmt.Sprintf("train/%v", prec), h, Span{Len: 256}, true)
	}
	h := Heads{Heads: 3, KV: 1, Dim: 64, Scale: 0.125}
	for _, s := range []Span{{Len: 512}, {Len: 256, Past: 512}, {Len: 64, Past: 3584}, {Len: 64, Past: 7680}} {
		benchAttention(b, fmt.Sprintf("prefill/%d+%d", s.Len, s.Past), h, s, false)
	}
	benchAttention(b, "decode/1+1024", h, Span{Len: 1, Past: 1024}, false)
}

// benchAttention measures a span: in training, or as the model continues what a cache holds.

func benchAttention(b *testing.B, name string, h Heads, s Span, backward bool) {
	rows, keys, pairs := s.Len, s.keys(), s.Len*s.Past+s.Len*(s.Len+1)/2
	spans := []Span{s}
	rnd := rng(1)
	wide, kw := h.Heads*h.Dim, h.KV*h.Dim
	q, o, lse := randn(rnd, rows*wide), make([]float32, rows*wide), make([]float32, rows*h.Heads)
	kv := randn(rnd, 2*keys*kw)
	k, v, ld := kv, kv[kw:], 2*kw
	do, dq, dkv := randn(rnd, len(o)), make([]float32, len(q)), make([]float32, len(kv))
	bench := func(name string, products int, f func()) {
		b.Run(name, func(b *testing.B) {
			peak := PeakF32(20 * time.Millisecond)
			best := time.Hour
			for b.Loop() {
				t := time.Now()
				f()
				best = min(best, time.Since(t))
			}
			rate := float64(2*products*pairs*h.Heads*h.Dim) / best.Seconds()
			b.ReportMetric(rate/1e9, "GFLOP/s")
			if peak > 0 {
				b.ReportMetric(rate/peak, "of-peak")
			}
		})
	}
	if !backward {
		held := make([]float32, HeldTokens(keys)*kw)
		StoreKeys(held, 0, k, ld, keys, h.KV, h.Dim)
		bench(name+"/forward", 2, func() { AttentionHeld(nil, o, wide, q, wide, held, v, ld, spans, h) })
	} else {
		bench(name+"/forward", 2, func() { Attention(nil, o, wide, q, wide, k, v, ld, spans, h, lse) })
		bench(name+"/backward", 5, func() { AttentionBackward(nil, dq, dkv, dkv[kw:], do, wide, o, q, wide, k, v, ld, spans, h, lse) })
	}
}
