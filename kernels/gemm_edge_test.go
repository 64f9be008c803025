package kernels

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestProductsAtTheEdges covers nothing to add up, one column, one row, and the neighbours of the tile and the panel.
func TestProductsAtTheEdges(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		for _, m := range []int{0, 1, 2, 3, 5, 7, 8, 9, 17} {
			for _, n := range []int{1, 47, 48, 49, 97} {
				for _, k := range []int{0, 1, 2, 17, packBlock + 9} {
					rnd := rng(uint64(m*10000 + n*100 + k))
					a, b, c := randn(rnd, m*k), randn(rnd, n*k), randn(rnd, m*n)
					for _, acc := range []bool{false, true} {
						what := fmt.Sprintf("%d×%d×%d, accumulate %v", m, n, k, acc)
						for _, prec := range []Precision{F32, BF16} {
							ar, br := a, b
							if prec == BF16 {
								ar, br = roundAll(a), roundAll(b)
							}
							got := slices.Clone(c)
							MulPacked(two, got, a, m, PackNT(two, b, n, k, prec), acc)
							near(t, what+" packed NT "+prec.String(), got, productRef(c, ar, br, m, n, k, k, 1, k, 1, acc), 1e-5)
							got = slices.Clone(c)
							MulPacked(two, got, a, m, PackNN(two, b, k, n, prec), acc)
							near(t, what+" packed NN "+prec.String(), got, productRef(c, ar, br, m, n, k, k, 1, 1, n, acc), 1e-5)
						}
						got := slices.Clone(c)
						MatMulTN(two, got, a, b, m, n, k, acc)
						near(t, what+" TN", got, productRef(c, a, b, m, n, k, 1, m, 1, n, acc), 1e-5)
					}
				}
			}
		}
	})
}

// TestStrides: whatever the strides, the product is the same to the bit and nothing else of y changes.
func TestStrides(t *testing.T) {
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, n, k := rapid.IntRange(1, 20).Draw(rt, "m"), rapid.IntRange(1, 110).Draw(rt, "n"), rapid.IntRange(0, 40).Draw(rt, "k")
			ldx, ldy := k+rapid.IntRange(0, 5).Draw(rt, "ldx-k"), n+rapid.IntRange(0, 5).Draw(rt, "ldy-n")
			acc := rapid.Bool().Draw(rt, "acc")
			prec := rapid.SampledFrom([]Precision{F32, BF16}).Draw(rt, "prec")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			w := PackNT(nil, randn(rnd, n*k), n, k, prec)
			x, y := randn(rnd, (m-1)*ldx+k), randn(rnd, (m-1)*ldy+n)
			want := slices.Clone(y)
			for i := range m {
				MulPacked(nil, want[i*ldy:i*ldy+n], x[i*ldx:i*ldx+k], 1, w, acc)
			}
			MulPackedStride(nil, y, ldy, x, ldx, m, w, acc)
			if !slices.Equal(y, want) {
				rt.Error("a product with strides differs from its rows' products")
			}
		})
	})
}

// TestThreads: one, two and five threads give the same bits, split by panels and by rows.
func TestThreads(t *testing.T) {
	pools := []*Pool{NewPool(2), NewPool(5)}
	each(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 2000, 99}, {70, 500, 33}, {333, 50, 41}, {40, 30, blockK + 5}} {
			m, n, k := s[0], s[1], s[2]
			rnd := rng(uint64(m))
			a, b, c := randn(rnd, m*k), randn(rnd, n*k), randn(rnd, m*n)
			for name, f := range map[string]func(p *Pool, y []float32){
				"packed":      func(p *Pool, y []float32) { MulPacked(p, y, a, m, PackNT(p, b, n, k, F32), true) },
				"packed bf16": func(p *Pool, y []float32) { MulPacked(p, y, a, m, PackNN(p, b, k, n, BF16), true) },
				"NT":          func(p *Pool, y []float32) { MatMulNT(p, y, a, b, m, n, k, true) },
				"NN":          func(p *Pool, y []float32) { MatMulNN(p, y, a, b, m, n, k, true) },
				"TN":          func(p *Pool, y []float32) { MatMulTN(p, y, a, b, m, n, k, true) },
			} {
				want := slices.Clone(c)
				f(nil, want)
				for _, p := range pools {
					got := slices.Clone(c)
					f(p, got)
					if !slices.Equal(got, want) {
						t.Errorf("%s %v: %d threads change the bits", name, s, p.Threads())
					}
				}
			}
		}
	})
	for _, p := range pools {
		p.Close()
	}
}

// TestPackedOutlivesUse: a weight packed with one implementation works with every other.
func TestPackedOutlivesUse(t *testing.T) {
	const m, n, k = 11, 100, 37
	rnd := rng(5)
	x, w := randn(rnd, m*k), randn(rnd, n*k)
	want := productRef(make([]float32, m*n), roundAll(x), roundAll(w), m, n, k, k, 1, k, 1, false)
	var packed []*Packed
	each(t, func(*testing.T) { packed = append(packed, PackNT(nil, w, n, k, BF16)) })
	each(t, func(t *testing.T) {
		for _, pw := range packed {
			y := make([]float32, m*n)
			MulPacked(nil, y, x, m, pw, false)
			near(t, "bf16", y, want, 1e-5)
		}
	})
}

func TestRepack(t *testing.T) {
	each(t, func(t *testing.T) {
		const n, k = 61, 21
		rnd := rng(6)
		for _, prec := range []Precision{F32, BF16} {
			a, b := randn(rnd, n*k), randn(rnd, n*k)
			w := PackNT(nil, a, n, k, prec)
			w.Repack(nil, b, false)
			if fresh := PackNT(nil, b, n, k, prec); !slices.Equal(w.f, fresh.f) || !slices.Equal(w.h, fresh.h) {
				t.Errorf("%v: repacked differs from packed", prec)
			}
			w.Repack(nil, b, true)
			if fresh := PackNN(nil, b, k, n, prec); !slices.Equal(w.f, fresh.f) || !slices.Equal(w.h, fresh.h) {
				t.Errorf("%v: repacked NN differs from packed", prec)
			}
		}
	})
}

func TestWrongLengthsPanic(t *testing.T) {
	w := PackNT(nil, make([]float32, 50*10), 50, 10, F32)
	for name, f := range map[string]func(){
		"short x":      func() { MulPacked(nil, make([]float32, 100), make([]float32, 19), 2, w, false) },
		"short y":      func() { MulPacked(nil, make([]float32, 99), make([]float32, 20), 2, w, false) },
		"small stride": func() { MulPackedStride(nil, make([]float32, 200), 49, make([]float32, 20), 10, 2, w, false) },
		"short weight": func() { PackNT(nil, make([]float32, 499), 50, 10, F32) },
		"short TN":     func() { MatMulTN(nil, make([]float32, 4), make([]float32, 5), make([]float32, 6), 2, 2, 3, false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// TestProductsAllocateNothing once their scratch is there.
func TestProductsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		const m, n, k = 40, 500, 64
		rnd := rng(7)
		a, b, c := randn(rnd, m*k), randn(rnd, n*k), make([]float32, m*n)
		f, h := PackNT(nil, b, n, k, F32), PackNT(nil, b, n, k, BF16)
		for _, p := range []*Pool{nil, two} {
			if allocs := testing.AllocsPerRun(20, func() {
				MulPacked(p, c, a, m, f, false)
				MulPacked(p, c, a, m, h, false)
				MulPacked(p, c, a, 1, f, true)
				f.Repack(p, b, false)
				MatMulNT(p, c, a, b, m, n, k, false)
				MatMulTN(p, c, a, b, m, n, k, false)
			}); allocs > 0 {
				t.Errorf("%d threads: %v allocations", p.Threads(), allocs)
			}
		}
	})
}
