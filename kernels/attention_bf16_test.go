package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPairProducts covers pairs of k in rows and in columns, gaps between rows, and more than one block of k.
func TestPairProducts(t *testing.T) {
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, n := rapid.IntRange(1, 20).Draw(rt, "m"), rapid.SampledFrom([]int{16, 32, 64, 80, 128}).Draw(rt, "n")
			k := 2 * rapid.SampledFrom([]int{1, 5, 32, tileK, tileK + 1}).Draw(rt, "pairs")
			gap, acc := rapid.IntRange(0, 3).Draw(rt, "gap"), rapid.Bool().Draw(rt, "acc")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			a, b, c := roundAll(randn(rnd, m*k)), roundAll(randn(rnd, k*n)), randn(rnd, m*(n+gap))
			rows, columns := make([]uint16, m*(k+2*gap)), make([]uint16, k*(m+gap))
			for i := range m {
				toBF16(rows[i*(k+2*gap):][:k], a[i*k:][:k])
				for j := range k {
					columns[j/2*2*(m+gap)+2*i+j%2] = roundBF16(a[i*k+j])
				}
			}
			w := make([]uint16, k*n)
			pairRows(w, b, n, k, n)
			want := slices.Clone(c)
			for i := range m {
				copy(want[i*(n+gap):], productRef(c[i*(n+gap):][:n], a[i*k:], b, 1, n, k, 0, 1, 1, n, acc))
			}
			for _, x := range []pairs{{rows, k/2 + gap, 1}, {columns, 1, m + gap}} {
				got := slices.Clone(c)
				mulPairs(got, n+gap, x, w, n, m, n, k/2, acc)
				near(t, fmt.Sprintf("%d×%d×%d", m, n, k), got, want, 1e-5)
			}
		})
	})
}

// TestAttentionRowKernels: each implementation against the reference, at lengths of whole vectors.
func TestAttentionRowKernels(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range []int{16, 48, 80} {
			rnd := rng(uint64(n))
			ld := n + 16
			s, d := randn(rnd, ld+n), randn(rnd, ld+n)
			s[3] = negInf
			lse, delta := []float32{1.5, 0.5}, []float32{0.25, -0.75}
			gs, gd, ws, wd := slices.Clone(s[:n]), slices.Clone(d[:n]), slices.Clone(s[:n]), slices.Clone(d[:n])
			softmaxGrad(gs, gd, 0.5, 1.5, 0.25)
			softmaxGradGeneric(ws, wd, 0.5, 1.5, 0.25)
			near(t, "probabilities", gs, ws, 1e-6)
			near(t, "gradients", gd, wd, 1e-6)
			if gs[3] != 0 {
				t.Errorf("a hidden score has probability %v", gs[3])
			}

			var got, want [3][]uint16
			for i := range got {
				got[i], want[i] = make([]uint16, 2*n+16), make([]uint16, 2*n+16)
			}
			softmaxGradBF16s(n, s, d, ld, got[0], got[1], got[2], 0.5, lse, delta)
			softmaxGradBF16Generic(n, s, d, ld, want[0], want[1], want[2], 0.5, lse, delta)
			for i := range got {
				near(t, fmt.Sprintf("bf16 result %d", i), wide(got[i]), wide(want[i]), 1.0/256)
			}
			rounded := make([]uint16, 3*n)
			pairRows(rounded, s, n, 1, n)
			for i, x := range s[:n] {
				if rounded[2*i] != roundBF16(x) || rounded[2*i+1] != 0 {
					t.Fatalf("pair %d of %v is %x", i, x, rounded[2*i:2*i+2])
				}
			}
			pairRows(rounded, d, n/2, 2, n/2)
			for i, x := range d[:n] {
				if at := 2*(i%(n/2)) + i/(n/2); rounded[at] != roundBF16(x) {
					t.Fatalf("element %d of pairs: %x, want %x", i, rounded[at], roundBF16(x))
				}
			}
		}
	})
}

// TestAttentionRows: the largest, the exponentials and their sums of several rows, against the reference.
func TestAttentionRows(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range []int{16, 48, 80} {
			const rows = 5
			ld := n + 16
			x := randn(rng(uint64(n)), rows*ld)
			x[3] = negInf
			top, wantTop := make([]float32, rows), make([]float32, rows)
			maxRows(top, x, ld, n)
			maxRowsGeneric(wantTop, x, ld, n)
			if !slices.Equal(top, wantTop) {
				t.Fatalf("largest %v, want %v", top, wantTop)
			}
			got, want := slices.Clone(x), slices.Clone(x)
			h, wantH := make([]uint16, rows*ld), make([]uint16, rows*ld)
			var sums [4][]float32
			for i := range sums {
				sums[i] = make([]float32, rows)
			}
			expRowsBF16s(sums[0], h, x, ld, n, 0.5, top)
			expRowsBF16Generic(sums[1], wantH, x, ld, n, 0.5, top)
			expRows(sums[2], got, ld, n, 0.5, top)
			expRowsGeneric(sums[3], want, ld, n, 0.5, top)
			near(t, "exponentials", got, want, 1e-6)
			near(t, "exponentials in bf16", wide(h), wide(wantH), 1.0/256)
			for _, sum := range sums[:3] {
				near(t, "sums", sum, sums[3], 1e-6)
			}
		}
	})
}

func wide(h []uint16) []float32 {
	x := make([]float32, len(h))
	fromBF16(x, h)
	return x
}

// TestAttentionInBF16: within what bf16 keeps of f32, in any number of threads and beside any other rows the same bits.
func TestAttentionInBF16(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		for i, dim := range []int{16, 64, 80, 16, 32} {
			h := Heads{Heads: 3, KV: 1, Dim: dim, Scale: float32(1 / math.Sqrt(float64(dim)))}
			h.Window, h.Cap = []int{0, 0, 0, 33, 6}[i], []float32{0, 0, 0, 0, 2}[i]
			spans := []Span{{Q: 0, Len: 37, KV: 0, Past: 170}, {Q: 37, Len: 1, KV: 207}, {Q: 38, Len: 70, KV: 208}}
			const nq, nkv = 108, 278
			ldq, ldkv, ldo := 3*dim+3, dim+1, 3*dim+2
			rnd := rng(uint64(dim))
			q, k, v, do := randn(rnd, nq*ldq), randn(rnd, nkv*ldkv), randn(rnd, nkv*ldkv), randn(rnd, nq*ldo)
			type result struct{ o, lse, dq, dk, dv []float32 }
			run := func(p *Pool, prec Precision) result {
				h := h
				h.Precision = prec
				r := result{make([]float32, nq*ldo), make([]float32, nq*3), make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))}
				Attention(p, r.o, ldo, q, ldq, k, v, ldkv, spans, h, r.lse)
				AttentionBackward(p, r.dq, r.dk, r.dv, do, ldo, r.o, q, ldq, k, v, ldkv, spans, h, r.lse)
				return r
			}
			want, got, par := run(nil, F32), run(nil, BF16), run(two, BF16)
			for i, x := range [][3][]float32{{got.o, par.o, want.o}, {got.lse, par.lse, want.lse}, {got.dq, par.dq, want.dq}, {got.dk, par.dk, want.dk}, {got.dv, par.dv, want.dv}} {
				what := []string{"o", "lse", "dq", "dk", "dv"}[i]
				if !slices.Equal(x[0], x[1]) {
					t.Fatalf("%s: threads change the bits", what)
				}
				near(t, what, x[0], x[2], 2e-2)
				if h.Precision = BF16; h.half() && slices.Equal(x[0], x[2]) {
					t.Errorf("%s is that of f32", what)
				}
			}
			const cut = 50
			part := make([]float32, cut*ldo)
			Attention(nil, part, ldo, q[38*ldq:], ldq, k[208*ldkv:], v[208*ldkv:], ldkv, []Span{{Len: cut}}, h, nil)
			for i := range cut {
				if !slices.Equal(part[i*ldo:][:3*dim], got.o[(38+i)*ldo:][:3*dim]) {
					t.Fatalf("row %d of the first %d differs", i, cut)
				}
			}
		}
	})
}

// TestAttentionReusesMemory: once warm, a step of training allocates nothing.
func TestAttentionReusesMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	const n, ld = 100, 192
	q, k, o, lse := randn(rng(1), n*ld), randn(rng(2), n*64), make([]float32, n*ld), make([]float32, n*3)
	dq, dk, dv := make([]float32, n*ld), make([]float32, n*64), make([]float32, n*64)
	spans := []Span{{Len: n}}
	each(t, func(t *testing.T) {
		for _, prec := range []Precision{F32, BF16} {
			h := Heads{Heads: 3, KV: 1, Dim: 64, Scale: 0.125, Precision: prec}
			if a := testing.AllocsPerRun(20, func() {
				Attention(nil, o, ld, q, ld, k, k, 64, spans, h, lse)
				AttentionBackward(nil, dq, dk, dv, o, ld, o, q, ld, k, k, 64, spans, h, lse)
			}); a >= 1 { // a collection in between may empty the pools once
				t.Errorf("%v: %v allocations a step", prec, a)
			}
		}
	})
}
