package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// each runs f once for every implementation of this machine.
func each(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, isa := range Supported() {
		t.Run(isa.String(), func(t *testing.T) {
			was := Active()
			if err := Use(isa); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = Use(was) }()
			f(t)
		})
	}
}

func randn(rnd *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rnd.NormFloat64())
	}
	return x
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// productRef is c (+)= a·b in float64 by the definition, with strides of a and b.
func productRef(c, a, b []float32, m, n, k, am, ak, bn, bk int, acc bool) []float32 {
	out := slices.Clone(c)
	for i := range m {
		for j := range n {
			var s float64
			if acc {
				s = float64(c[i*n+j])
			}
			for q := range k {
				s += float64(a[i*am+q*ak]) * float64(b[j*bn+q*bk])
			}
			out[i*n+j] = float32(s)
		}
	}
	return out
}

// near fails when got and want differ by more than tol times the largest element of want (at least 1).
func near(t testing.TB, what string, got, want []float32, tol float64) {
	t.Helper()
	scale := 1.0
	for _, w := range want {
		scale = max(scale, math.Abs(float64(w)))
	}
	for i, g := range got {
		if d := math.Abs(float64(g) - float64(want[i])); !(d <= tol*scale) {
			t.Fatalf("%s: element %d is %v, want %v (tolerance %g)", what, i, g, want[i], tol*scale)
		}
	}
}

func TestProducts(t *testing.T) {
	pools := []*Pool{nil, NewPool(2), NewPool(3)}
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, n, k := rapid.IntRange(0, 40).Draw(rt, "m"), rapid.IntRange(1, 150).Draw(rt, "n"), rapid.IntRange(0, 70).Draw(rt, "k")
			acc := rapid.Bool().Draw(rt, "acc")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			c := randn(rnd, m*n)
			for _, p := range pools {
				run := func(name string, f func(c, a, b []float32), am, ak, bn, bk int) {
					a, b := randn(rnd, m*k), randn(rnd, n*k)
					got := slices.Clone(c)
					f(got, a, b)
					near(t, fmt.Sprintf("%s %d×%d×%d", name, m, n, k), got, productRef(c, a, b, m, n, k, am, ak, bn, bk, acc), 1e-5)
				}
				run("NT", func(c, a, b []float32) { MatMulNT(p, c, a, b, m, n, k, acc) }, k, 1, k, 1)
				run("NN", func(c, a, b []float32) { MatMulNN(p, c, a, b, m, n, k, acc) }, k, 1, 1, n)
				run("TN", func(c, a, b []float32) { MatMulTN(p, c, a, b, m, n, k, acc) }, 1, m, 1, n)
				run("packed NT", func(c, a, b []float32) { MulPacked(p, c, a, m, PackNT(p, b, n, k, F32), acc) }, k, 1, k, 1)
				run("packed NN", func(c, a, b []float32) { MulPacked(p, c, a, m, PackNN(p, b, k, n, F32), acc) }, k, 1, 1, n)
			}
		})
	})
}

func roundAll(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = bf16(roundBF16(v))
	}
	return y
}

func TestBF16Products(t *testing.T) {
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			m, n, k := rapid.IntRange(1, 30).Draw(rt, "m"), rapid.IntRange(1, 120).Draw(rt, "n"), rapid.IntRange(1, 90).Draw(rt, "k")
			acc := rapid.Bool().Draw(rt, "acc")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			a, b, c := randn(rnd, m*k), randn(rnd, n*k), randn(rnd, m*n)
			ra, rb := roundAll(a), roundAll(b)
			got := slices.Clone(c)
			MulPacked(nil, got, a, m, PackNT(nil, b, n, k, BF16), acc)
			near(t, "bf16 NT", got, productRef(c, ra, rb, m, n, k, k, 1, k, 1, acc), 1e-5)
			got = slices.Clone(c)
			MulPacked(nil, got, a, m, PackNN(nil, b, k, n, BF16), acc)
			near(t, "bf16 NN", got, productRef(c, ra, rb, m, n, k, k, 1, 1, n, acc), 1e-5)
		})
	})
}

// TestLongK covers sums over more than one block of k, and strides.
func TestLongK(t *testing.T) {
	each(t, func(t *testing.T) {
		const m, n, k, ldx, ldy = 9, 50, 2*blockK + 37, 2*blockK + 40, 53
		rnd := rng(1)
		x, w := randn(rnd, m*ldx), randn(rnd, n*k)
		for _, prec := range []Precision{F32, BF16} {
			xr, wr := x, w
			if prec == BF16 {
				xr, wr = roundAll(x), roundAll(w)
			}
			y := make([]float32, m*ldy)
			MulPackedStride(nil, y, ldy, x, ldx, m, PackNT(nil, w, n, k, prec), false)
			for i := range m {
				want := productRef(make([]float32, n), xr[i*ldx:], wr, 1, n, k, ldx, 1, k, 1, false)
				near(t, prec.String(), y[i*ldy:i*ldy+n], want, 1e-5)
				for _, v := range y[i*ldy+n : (i+1)*ldy] {
					if v != 0 {
						t.Fatal("wrote between the rows")
					}
				}
			}
		}
	})
}

// TestSameBits: a row's result depends neither on the other rows nor on the threads.
func TestSameBits(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rnd := rng(2)
		const m, n, k = 37, 200, 65
		x, w := randn(rnd, m*k), randn(rnd, n*k)
		for _, prec := range []Precision{F32, BF16} {
			pw := PackNT(nil, w, n, k, prec)
			all, par, one := make([]float32, m*n), make([]float32, m*n), make([]float32, n)
			MulPacked(nil, all, x, m, pw, false)
			MulPacked(two, par, x, m, pw, false)
			if !slices.Equal(all, par) {
				t.Error("threads change the bits")
			}
			for i := range m {
				MulPacked(two, one, x[i*k:(i+1)*k], 1, pw, false)
				if !slices.Equal(one, all[i*n:(i+1)*n]) {
					t.Fatalf("%v: row %d alone differs from row %d among %d", prec, i, i, m)
				}
			}
		}
	})
}

// TestProductsOfExactWeights: a weight that bf16 holds takes half the room and gives the bits of one kept in f32.
func TestProductsOfExactWeights(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, s := range [][3]int{{1, 48, 64}, {1, 100, 33}, {3, 49, 7}, {8, 96, 2100}, {1, 48, 2100}, {300, 130, 576}} {
			m, n, k := s[0], s[1], s[2]
			rnd := rng(uint64(m + n + k))
			x, w := randn(rnd, m*k), roundAll(randn(rnd, n*k))
			exact := PackNT(nil, w, n, k, F32)
			wide := &Packed{N: n, K: k, f: make([]float32, exact.panels()*k*panel)}
			wide.Repack(nil, w, false)
			if exact.Bytes()*2 != wide.Bytes() {
				t.Fatalf("%d bytes, in f32 %d", exact.Bytes(), wide.Bytes())
			}
			got, want := randn(rnd, m*n), make([]float32, m*n)
			copy(want, got)
			for _, acc := range []bool{true, false} {
				MulPacked(nil, got, x, m, exact, acc)
				MulPacked(nil, want, x, m, wide, acc)
				if !slices.Equal(got, want) {
					t.Fatalf("[%d, %d]·[%d, %d]ᵀ, accumulate %v: other bits", m, k, n, k, acc)
				}
			}
			w[0] += 1.0 / (1 << 20)
			exact.Repack(nil, w, false)
			if exact.e != nil || exact.f[0] != w[0] {
				t.Fatal("values that bf16 does not hold were kept in it")
			}
		}
	})
}
