package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// weightRef is a weight before it is divided by the sum of all, for a key so far back, and the derivative of its score.
func weightRef(dot float64, back int, h Heads) (w, slope float64) {
	if h.Window > 0 && back >= h.Window {
		return 0, 0
	}
	score, slope := dot*float64(h.Scale), float64(h.Scale)
	if h.Cap > 0 {
		t := math.Tanh(score / float64(h.Cap))
		score, slope = float64(h.Cap)*t, slope*(1-t*t)
	}
	return math.Exp(score), slope
}

// attentionRef is attention in float64 by the definition.
func attentionRef(o []float32, ldo int, q []float32, ldq int, k, v []float32, ldkv int, s Span, h Heads) {
	for i := range s.Len {
		for head := range h.Heads {
			g := head / (h.Heads / h.KV) * h.Dim
			w := make([]float64, s.Past+i+1)
			var sum float64
			for j := range w {
				var dot float64
				for c := range h.Dim {
					dot += float64(q[(s.Q+i)*ldq+head*h.Dim+c]) * float64(k[(s.KV+j)*ldkv+g+c])
				}
				w[j], _ = weightRef(dot, s.Past+i-j, h)
				sum += w[j]
			}
			for c := range h.Dim {
				var y float64
				for j := range w {
					y += w[j] / sum * float64(v[(s.KV+j)*ldkv+g+c])
				}
				o[(s.Q+i)*ldo+head*h.Dim+c] = float32(y)
			}
		}
	}
}

// drawHeads draws shapes of attention.
func drawHeads(rt *rapid.T) Heads {
	kv := rapid.IntRange(1, 3).Draw(rt, "kv")
	h := Heads{Heads: kv * rapid.IntRange(1, 3).Draw(rt, "group"), KV: kv, Dim: rapid.SampledFrom([]int{4, 16, 64}).Draw(rt, "dim")}
	h.Scale = float32(1 / math.Sqrt(float64(h.Dim)))
	h.Window, h.Cap = rapid.SampledFrom([]int{0, 0, 1, 7, 40}).Draw(rt, "window"), rapid.SampledFrom([]float32{0, 0, 1.5}).Draw(rt, "cap")
	return h
}

func TestAttention(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			h := drawHeads(rt)
			var spans []Span
			nq, nkv := 0, 0
			for range rapid.IntRange(1, 3).Draw(rt, "spans") {
				s := Span{Q: nq, Len: rapid.IntRange(1, 70).Draw(rt, "len"), KV: nkv, Past: rapid.SampledFrom([]int{0, 0, 1, 50, 300}).Draw(rt, "past")}
				nq, nkv = nq+s.Len, nkv+s.Past+s.Len
				spans = append(spans, s)
			}
			ldq, ldkv, ldo := h.Heads*h.Dim+3, h.KV*h.Dim+1, h.Heads*h.Dim+2
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			q, k, v := randn(rnd, nq*ldq), randn(rnd, nkv*ldkv), randn(rnd, nkv*ldkv)
			got, par, want := make([]float32, nq*ldo), make([]float32, nq*ldo), make([]float32, nq*ldo)
			Attention(nil, got, ldo, q, ldq, k, v, ldkv, spans, h, nil)
			Attention(two, par, ldo, q, ldq, k, v, ldkv, spans, h, nil)
			if !slices.Equal(got, par) {
				rt.Fatal("threads change the bits")
			}
			for _, s := range spans {
				attentionRef(want, ldo, q, ldq, k, v, ldkv, s, h)
			}
			near(t, "attention", got, want, 1e-5)
		})
	})
}

// TestAttentionOfPrefix: later tokens and other sequences change no bit of a sequence's outputs.
func TestAttentionOfPrefix(t *testing.T) {
	each(t, func(t *testing.T) {
		h := Heads{Heads: 3, KV: 1, Dim: 32, Scale: 0.2}
		const n, ldq, ldkv = 260, 96, 32
		rnd := rng(11)
		q, k, v, whole := randn(rnd, 2*n*ldq), randn(rnd, 2*n*ldkv), randn(rnd, 2*n*ldkv), make([]float32, 2*n*ldq)
		Attention(nil, whole, ldq, q, ldq, k, v, ldkv, []Span{{Q: 0, Len: n}, {Q: n, Len: n, KV: n}}, h, nil)
		for _, cut := range []int{4, 31, 32, 33, 100, 200, n} {
			part := make([]float32, cut*ldq)
			Attention(nil, part, ldq, q[n*ldq:], ldq, k[n*ldkv:], v[n*ldkv:], ldkv, []Span{{Len: cut}}, h, nil)
			if !slices.Equal(part, whole[n*ldq:][:cut*ldq]) {
				t.Fatalf("the first %d tokens alone differ", cut)
			}
		}
		// in two parts, as with a cache: the same values, if not the same bits
		past := 201
		part := make([]float32, (n-past)*ldq)
		Attention(nil, part, ldq, q[past*ldq:], ldq, k, v, ldkv, []Span{{Len: n - past, Past: past}}, h, nil)
		near(t, "second part", part, whole[past*ldq:n*ldq], 1e-5)
		one := make([]float32, ldq)
		Attention(nil, one, ldq, q[(n-1)*ldq:], ldq, k, v, ldkv, []Span{{Len: 1, Past: n - 1}}, h, nil)
		near(t, "last token", one, whole[(n-1)*ldq:n*ldq], 1e-5)
	})
}

// attentionBackwardRef is the gradient of attentionRef in float64 by the definition, added to dq, dk and dv.
func attentionBackwardRef(dq, dk, dv, do []float64, q, k, v []float32, ldq, ldkv, ldo int, s Span, h Heads) {
	for i := range s.Len {
		for head := range h.Heads {
			qi, oi, g := (s.Q+i)*ldq+head*h.Dim, (s.Q+i)*ldo+head*h.Dim, head/(h.Heads/h.KV)*h.Dim
			p, dp, slope := make([]float64, s.Past+i+1), make([]float64, s.Past+i+1), make([]float64, s.Past+i+1)
			var sum, delta float64
			for j := range p {
				var dot float64
				for c := range h.Dim {
					dot += float64(q[qi+c]) * float64(k[(s.KV+j)*ldkv+g+c])
					dp[j] += do[oi+c] * float64(v[(s.KV+j)*ldkv+g+c])
				}
				p[j], slope[j] = weightRef(dot, s.Past+i-j, h)
				sum += p[j]
			}
			for j := range p {
				p[j] /= sum
				delta += p[j] * dp[j]
			}
			for j := range p {
				ds := p[j] * (dp[j] - delta) * slope[j]
				for c := range h.Dim {
					dq[qi+c] += ds * float64(k[(s.KV+j)*ldkv+g+c])
					dk[(s.KV+j)*ldkv+g+c] += ds * float64(q[qi+c])
					dv[(s.KV+j)*ldkv+g+c] += p[j] * do[oi+c]
				}
			}
		}
	}
}

func TestAttentionBackward(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	f32 := func(x []float64) []float32 {
		y := make([]float32, len(x))
		for i, v := range x {
			y[i] = float32(v)
		}
		return y
	}
	each(t, func(t *testing.T) {
		for i, dim := range []int{5, 16, 32, 64, 16, 32} {
			h := Heads{Heads: 6, KV: 2, Dim: dim, Scale: float32(1 / math.Sqrt(float64(dim)))}
			h.Window, h.Cap = []int{0, 0, 3, 0, 50, 30}[i], []float32{0, 0, 0, 2, 0, 1.5}[i]
			spans := []Span{{Q: 0, Len: 37, KV: 0, Past: 170}, {Q: 37, Len: 1, KV: 207}, {Q: 38, Len: 70, KV: 208}, {Q: 108, Len: 230, KV: 278, Past: 100}}
			const nq, nkv = 338, 608
			ldq, ldkv, ldo := 6*dim+3, 2*dim+1, 6*dim+2
			rnd := rng(uint64(dim))
			q, k, v, do := randn(rnd, nq*ldq), randn(rnd, nkv*ldkv), randn(rnd, nkv*ldkv), randn(rnd, nq*ldo)
			o, lse := make([]float32, nq*ldo), make([]float32, nq*h.Heads)
			Attention(nil, o, ldo, q, ldq, k, v, ldkv, spans, h, lse)
			wide := make([]float64, len(do))
			for i, d := range do {
				wide[i] = float64(d)
			}
			wq, wk, wv := make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
			for _, s := range spans {
				attentionBackwardRef(wq, wk, wv, wide, q, k, v, ldq, ldkv, ldo, s, h)
			}
			run := func(p *Pool) [3][]float32 {
				d := [3][]float32{make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))}
				AttentionBackward(p, d[0], d[1], d[2], do, ldo, o, q, ldq, k, v, ldkv, spans, h, lse)
				return d
			}
			got, par := run(nil), run(two)
			for i, want := range [3][]float64{wq, wk, wv} {
				if !slices.Equal(got[i], par[i]) {
					t.Fatal("threads change the bits")
				}
				near(t, []string{"dq", "dk", "dv"}[i], got[i], f32(want), 1e-5)
			}
		}
	})
}

// TestAttentionOfManyKeys covers rows of scores whose length is a multiple of the cache's, and several blocks of keys.
func TestAttentionOfManyKeys(t *testing.T) {
	each(t, func(t *testing.T) {
		h := Heads{Heads: 2, KV: 1, Dim: 16, Scale: 0.25}
		for _, keys := range []int{16*panel - 3, 16 * panel, 16*panel + 1} {
			s := Span{Len: 9, Past: keys - 9}
			rnd := rng(uint64(keys))
			q, k, v := randn(rnd, 9*32), randn(rnd, keys*16), randn(rnd, keys*16)
			got, want := make([]float32, len(q)), make([]float32, len(q))
			Attention(nil, got, 32, q, 32, k, v, 16, []Span{s}, h, nil)
			attentionRef(want, 32, q, 32, k, v, 16, s, h)
			near(t, "attention", got, want, 1e-5)
		}
	})
}

func TestAttentionAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	h := Heads{Heads: 3, KV: 1, Dim: 64, Scale: 0.125}
	const n, ld = 100, 192
	q, k, o, lse := randn(rng(1), n*ld), randn(rng(2), n*64), make([]float32, n*ld), make([]float32, n*3)
	dq, dk, dv := make([]float32, n*ld), make([]float32, n*64), make([]float32, n*64)
	spans := []Span{{Len: n}}
	if a := testing.AllocsPerRun(20, func() {
		Attention(nil, o, ld, q, ld, k, k, 64, spans, h, lse)
		AttentionBackward(nil, dq, dk, dv, o, ld, o, q, ld, k, k, 64, spans, h, lse)
	}); a > 8 {
		t.Errorf("%v allocations", a) // the closures alone, when scratch is reused
	}
}

func TestAttentionGradients(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		h := Heads{Heads: 4, KV: 2, Dim: 4, Scale: 0.5}
		spans := []Span{{Q: 0, Len: 5, KV: 0, Past: 2}, {Q: 5, Len: 6, KV: 7}}
		const nq, nkv, ldq, ldkv, ldo = 11, 13, 17, 9, 16
		rnd := rng(8)
		q, k, v, do := randn(rnd, nq*ldq), randn(rnd, nkv*ldkv), randn(rnd, nkv*ldkv), randn(rnd, nq*ldo)
		o, lse := make([]float32, nq*ldo), make([]float32, nq*h.Heads)
		f := func() []float32 { Attention(nil, o, ldo, q, ldq, k, v, ldkv, spans, h, lse); return o }
		f()
		dq, dk, dv := make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
		AttentionBackward(two, dq, dk, dv, do, ldo, o, q, ldq, k, v, ldkv, spans, h, lse)
		gradient(t, "dq", q, do, dq, f)
		gradient(t, "dk", k, do, dk, f)
		gradient(t, "dv", v, do, dv, f)
	})
}
