package kernels

import "testing"

// BenchmarkOps times the operations at the shapes of a step of 1,024 tokens of SmolLM2-135M, on one thread.
func BenchmarkOps(b *testing.B) {
	const tokens, dim, ffn, heads, headDim, vocab, rows = 1024, 576, 1536, 12, 64, 49152, 16
	rnd := rng(1)
	x, y, w, rstd := randn(rnd, tokens*dim), make([]float32, tokens*dim), randn(rnd, dim), make([]float32, tokens)
	gu, dgu, act := randn(rnd, tokens*2*ffn), make([]float32, tokens*2*ffn), make([]float32, tokens*ffn)
	qk, pos, angle := randn(rnd, tokens*heads*headDim), make([]int32, tokens), randn(rnd, headDim/2)
	logits, loss, targets := randn(rnd, rows*vocab), make([]float32, rows), make([]int32, rows)
	adam := [4][]float32{randn(rnd, 1<<20), randn(rnd, 1<<20), randn(rnd, 1<<20), make([]float32, 1<<20)}
	h, dw := make([]uint16, 1<<20), make([]float32, dim)
	for _, op := range []struct {
		name string
		f    func()
	}{
		{"RMSNorm", func() { RMSNorm(nil, y, x, w, tokens, dim, 1e-5, rstd) }},
		{"RMSNormBackward", func() { RMSNormBackward(nil, y, x, x, w, rstd, tokens, dim, false, nil) }},
		{"RMSNormBackwardWeight", func() { RMSNormBackward(nil, y, x, x, w, rstd, tokens, dim, false, dw) }},
		{"LayerNorm", func() { LayerNorm(nil, y, x, w, w, tokens, dim, 1e-5, nil) }},
		{"SwiGLU", func() { SwiGLU(nil, act, gu, tokens, ffn) }},
		{"SwiGLUBackward", func() { SwiGLUBackward(nil, dgu, act, gu, tokens, ffn) }},
		{"RoPE", func() { RoPE(nil, qk, heads*headDim, tokens, heads, headDim, pos, angle, angle) }},
		{"CrossEntropy16Rows", func() { CrossEntropy(nil, loss, logits, targets, nil, rows, vocab, true) }},
		{"Softmax", func() { Softmax(nil, y, x, tokens, dim) }},
		{"SiLU1M", func() { SiLU(adam[3], adam[2]) }},
		{"GELU64K", func() { GELU(adam[3][:1<<16], adam[2][:1<<16]) }},
		{"Adam1M", func() { Adam(adam[0], adam[1], adam[2], adam[3], 1e-9, .9, .99, 1e-8, 0, .1, .1) }},
		{"ToBF16", func() { ToBF16(h, adam[0]) }},
		{"Dot576", func() { Dot(x[:dim], w) }},
	} {
		b.Run(op.name, func(b *testing.B) {
			for b.Loop() {
				op.f()
			}
		})
	}
}
