package kernels

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAttention times SmolLM2's heads on one thread, as in training and as in reading a prompt with a cache, and
// reports the rate of the products that the causal mask leaves, and its share of the f32 peak measured just before.
func BenchmarkAttention(b *testing.B) {
	for _, prec := range []Precision{F32, BF16} {
		h := Heads{Heads: 9, KV: 3, Dim: 64, Scale: 0.125, Precision: prec}
		train := []Span{{Len: 256}, {Q: 256, KV: 256, Len: 256}}
		benchAttention(b, fmt.Sprintf("train/%v", prec), h, train, true)
		if prec == BF16 {
			continue
		}
		for _, past := range []int{0, 512, 3584, 7680} {
			benchAttention(b, fmt.Sprintf("prefill/512+%d", past), h, []Span{{Len: 512, Past: past}}, false)
		}
		benchAttention(b, "decode/1+1024", h, []Span{{Len: 1, Past: 1024}}, false)
	}
}

func benchAttention(b *testing.B, name string, h Heads, spans []Span, backward bool) {
	rows, keys, pairs := 0, 0, 0
	for _, s := range spans {
		rows, keys = rows+s.Len, keys+s.keys()
		pairs += s.Len*s.Past + s.Len*(s.Len+1)/2
	}
	rnd := rng(1)
	wide, kw := h.Heads*h.Dim, h.KV*h.Dim
	q, o, lse := randn(rnd, rows*wide), make([]float32, rows*wide), make([]float32, rows*h.Heads)
	kv := randn(rnd, 2*keys*kw)
	k, v, ld := kv, kv[kw:], 2*kw
	do, dq, dkv := randn(rnd, len(o)), make([]float32, len(q)), make([]float32, len(kv))
	bench := func(name string, products int, f func()) {
		b.Run(name, func(b *testing.B) {
			peak := PeakF32(20 * time.Millisecond)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			rate := float64(2*products*pairs*h.Heads*h.Dim) * float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate/1e9, "GFLOP/s")
			if peak > 0 {
				b.ReportMetric(rate/peak, "of-peak")
			}
		})
	}
	bench(name+"/forward", 2, func() { Attention(nil, o, wide, q, wide, k, v, ld, spans, h, lse) })
	if backward {
		bench(name+"/backward", 5, func() { AttentionBackward(nil, dq, dkv, dkv[kw:], do, wide, o, q, wide, k, v, ld, spans, h, lse) })
	}
}
