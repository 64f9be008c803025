package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// lengths cover empty, shorter than a vector, whole vectors and what is left.
var lengths = []int{0, 1, 7, 8, 15, 16, 17, 33, 64, 100, 257}

// TestVectors compares every elementwise kernel with its reference in pure Go.
func TestVectors(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range lengths {
			rnd := rng(uint64(n))
			x, y, z, w := randn(rnd, n), randn(rnd, n), randn(rnd, n), randn(rnd, n)
			h := make([]uint16, n)
			ToBF16(h, y)
			hw := make([]uint16, n)
			toBF16Generic(hw, y)
			if !slices.Equal(h, hw) {
				t.Fatalf("bf16 of %d differs", n)
			}
			wide := make([]float32, n)
			FromBF16(wide, h)
			check := func(what string, got, want func(d []float32)) {
				t.Helper()
				a, b := slices.Clone(z), slices.Clone(z)
				got(a)
				want(b)
				near(t, fmt.Sprintf("%s of %d", what, n), a, b, 2e-6)
			}
			check("axpy", func(d []float32) { Axpy(0.3, x, d) }, func(d []float32) { axpyGeneric(0.3, x, d) })
			check("axpyBF16", func(d []float32) { AxpyBF16(0.3, h, d) }, func(d []float32) { axpyGeneric(0.3, wide, d) })
			check("add", func(d []float32) { Add(d, x, y) }, func(d []float32) { addGeneric(d, x, y) })
			check("mul", func(d []float32) { Mul(d, x, y) }, func(d []float32) { mulGeneric(d, x, y) })
			check("mulScale", func(d []float32) { MulScale(d, x, y, 1.5) }, func(d []float32) { mulScaleGeneric(d, x, y, 1.5) })
			check("exp", func(d []float32) { Exp(d, x) }, func(d []float32) { expSumGeneric(d, x, 0) })
			check("silu", func(d []float32) { SiLU(d, x) }, func(d []float32) { siluGeneric(d, x) })
			check("scale", func(d []float32) { Scale(1.7, d) }, func(d []float32) { scaleGeneric(1.7, d) })
			check("subMul", func(d []float32) { subMul(d, x, y, 0.7) }, func(d []float32) { subMulGeneric(d, x, y, 0.7) })
			check("siluBackward", func(d []float32) { SiLUBackward(d, y, x) }, func(d []float32) { siluBackwardGeneric(d, y, x) })
			check("siluBackward in place", func(d []float32) { SiLUBackward(d, d, x) }, func(d []float32) { siluBackwardGeneric(d, d, x) })
			check("swiglu", func(d []float32) { swiglu(d, x, y) }, func(d []float32) { swigluGeneric(d, x, y) })
			other := slices.Clone(z)
			check("swiglu dgate", func(d []float32) { swigluBackward(d, other, w, x, y) }, func(d []float32) { swigluBackwardGeneric(d, make([]float32, n), w, x, y) })
			check("swiglu dup", func(d []float32) { swigluBackward(other, d, w, x, y) }, func(d []float32) { swigluBackwardGeneric(make([]float32, n), d, w, x, y) })
			m, v := randn(rnd, n), make([]float32, n)
			Exp(v, m)
			m2, v2 := slices.Clone(m), slices.Clone(v)
			check("adam", func(d []float32) { Adam(d, x, m, v, .1, .9, .99, 1e-8, .01, .5, .3) }, func(d []float32) { adamGeneric(d, x, m2, v2, .1, .9, .99, 1e-8, .01, .5, .3) })
			near(t, "adam m", m, m2, 1e-6)
			near(t, "adam v", v, v2, 1e-6)
			scalar := func(what string, got, want float32) { near(t, what, []float32{got}, []float32{want}, 3e-6) }
			scalar("dot", Dot(x, y), dotGeneric(x, y))
			scalar("dotBF16", DotBF16(x, h), dotGeneric(x, wide))
			if n > 0 {
				scalar("max", Max(x), slices.Max(x))
				scalar("expSum", ExpSum(slices.Clone(x), x, 0.5), expSumGeneric(slices.Clone(x), x, 0.5))
			}
		}
	})
}

func TestExpEnds(t *testing.T) {
	each(t, func(t *testing.T) {
		x := []float32{0, -1e30, float32(math.Inf(-1)), -88, -100, -87, -80, 80, 88, 1, -1, 1e-8, 50, -50, 3, -3, 89, 1e30, float32(math.Inf(1))}
		y := make([]float32, len(x))
		Exp(y, x)
		for i, v := range x {
			want := math.Exp(float64(v))
			if v < -87.7 {
				want = 0
			}
			if v > 88.4 {
				if !math.IsInf(float64(y[i]), 1) {
					t.Errorf("exp(%v) = %v", v, y[i])
				}
				continue
			}
			if d := math.Abs(float64(y[i]) - want); d > 3e-7*want {
				t.Errorf("exp(%v) = %v, want %v", v, y[i], want)
			}
		}
	})
}

// TestExpAccuracy sweeps the range in which the result is a normal number.
func TestExpAccuracy(t *testing.T) {
	each(t, func(t *testing.T) {
		const n = 1 << 16
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = -87 + 175.3*float32(i)/n
		}
		Exp(y, x)
		for i, v := range x {
			want := math.Exp(float64(v))
			ulp := float64(math.Nextafter32(float32(want), float32(math.Inf(1))) - float32(want))
			if d := math.Abs(float64(y[i])-want) / ulp; !(d <= 2) {
				t.Fatalf("exp(%v) = %v, want %v: %.2f units of the last place", v, y[i], want, d)
			}
		}
	})
}

// TestNaNStays: what is not a number must not come out as one, or a diverged training would look well.
func TestNaNStays(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range []int{1, 16, 35} {
			for at := range n {
				x, dy := randn(rng(1), n), randn(rng(2), n)
				x[at] = float32(math.NaN())
				y, sum := make([]float32, n), make([]float32, n)
				isNaN := func(what string, v float32) {
					t.Helper()
					if v == v {
						t.Fatalf("%s of %d with NaN at %d: %v", what, n, at, v)
					}
				}
				Exp(y, x)
				isNaN("exp", y[at])
				SiLU(y, x)
				isNaN("silu", y[at])
				SiLUBackward(y, dy, x)
				isNaN("silu gradient", y[at])
				Softmax(nil, sum, x, 1, n)
				isNaN("softmax", sum[0])
				loss := make([]float32, 1)
				CrossEntropy(nil, loss, x, []int32{int32(n / 2)}, nil, 1, n, false)
				isNaN("loss", loss[0])
			}
		}
	})
}

func TestHalves(t *testing.T) {
	for h := range 1 << 16 {
		v := F16(uint16(h))
		if v != v {
			continue
		}
		var back [1]uint16
		ToF16(back[:], []float32{v})
		if back[0] != uint16(h) {
			t.Fatalf("half %#x is %v and goes back to %#x", h, v, back[0])
		}
	}
	var mid [2]uint16
	ToF16(mid[:], []float32{1 + 1.0/2048, 1 + 3.0/2048}) // ties go to even
	if mid[0] != 0x3c00 || mid[1] != 0x3c02 {
		t.Errorf("ties %#x", mid)
	}
}

func TestGather(t *testing.T) {
	each(t, func(t *testing.T) {
		const width = 37
		rnd := rng(9)
		table, x, rows := randn(rnd, 10*width), randn(rnd, width), []uint32{3, 9, 3, 0}
		h := make([]uint16, len(table))
		ToBF16(h, table)
		wide := roundAll(table)
		out, want := make([]float32, 4), make([]float32, 4)
		y, wy := make([]float32, width), make([]float32, width)
		for i, r := range rows {
			want[i] = dotGeneric(x, wide[r*width:][:width])
			axpyGeneric(want[i], wide[r*width:][:width], wy)
		}
		GatherDotBF16(out, h, width, rows, nil, x)
		GatherAxpyBF16(y, h, width, rows, nil, want)
		near(t, "bf16 dots", out, want, 1e-5)
		near(t, "bf16 sum", y, wy, 1e-5)
		clear(y)
		GatherDot(out, wide, width, rows, x)
		GatherAxpy(y, wide, width, rows, want)
		near(t, "dots", out, want, 1e-5)
		near(t, "sum", y, wy, 1e-5)
		grad := make([]float32, len(table))
		ScatterAxpy(grad, width, rows, []float32{1, 2, 3, 4}, x)
		for i := range x {
			near(t, "scatter", []float32{grad[3*width+i], grad[9*width+i], grad[i]}, []float32{4 * x[i], 2 * x[i], 4 * x[i]}, 1e-6)
		}
	})
}

// gradient checks d = ∂(Σ dy·f(x))/∂x by central differences.
func gradient(t *testing.T, what string, x, dy, d []float32, f func() []float32) {
	t.Helper()
	loss := func() (s float64) {
		for i, v := range f() {
			s += float64(v) * float64(dy[i])
		}
		return s
	}
	const eps = 1e-2
	num := make([]float32, len(x))
	for i, v := range x {
		x[i] = v + eps
		up := loss()
		x[i] = v - eps
		num[i] = float32((up - loss()) / (2 * eps))
		x[i] = v
	}
	near(t, what, d, num, 4e-3)
}

func TestNormGradients(t *testing.T) {
	each(t, func(t *testing.T) {
		const tokens, dim = 3, 19
		rnd := rng(4)
		x, w, b, dy := randn(rnd, tokens*dim), randn(rnd, dim), randn(rnd, dim), randn(rnd, tokens*dim)
		y, rstd := make([]float32, tokens*dim), make([]float32, tokens)
		rms := func() []float32 { RMSNorm(nil, y, x, w, tokens, dim, 1e-5, rstd); return y }
		rms()
		dx, dw, db := make([]float32, len(x)), make([]float32, dim), make([]float32, dim)
		RMSNormBackward(nil, dx, dy, x, w, rstd, tokens, dim, false, dw)
		gradient(t, "RMSNorm dx", x, dy, dx, rms)
		gradient(t, "RMSNorm dw", w, dy, dw, rms)
		ln := func() []float32 { LayerNorm(nil, y, x, w, b, tokens, dim, 1e-5, rstd); return y }
		ln()
		clear(dw)
		LayerNormBackward(nil, dx, dy, x, w, rstd, tokens, dim, false, dw, db)
		gradient(t, "LayerNorm dx", x, dy, dx, ln)
		gradient(t, "LayerNorm dw", w, dy, dw, ln)
		gradient(t, "LayerNorm db", b, dy, db, ln)
		twice := slices.Clone(dx)
		LayerNormBackward(nil, twice, dy, x, w, rstd, tokens, dim, true, nil, nil)
		for i := range dx {
			dx[i] *= 2
		}
		near(t, "accumulated", twice, dx, 1e-6)

		const heads, size, ld = 2, 7, 17 // the last elements of a row are of no head
		x, dy, w = randn(rnd, tokens*ld), randn(rnd, tokens*ld), randn(rnd, size)
		kept := make([]float32, tokens*heads*(size+1))
		hn := func() []float32 {
			y := slices.Clone(x)
			RMSNormHeads(nil, y, ld, tokens, heads, size, w, 1e-5, kept)
			return y
		}
		inPlace := slices.Clone(x)
		RMSNormHeads(nil, inPlace, ld, tokens, heads, size, w, 1e-5, nil)
		if !slices.Equal(inPlace, hn()) {
			t.Error("what is kept changes the bits")
		}
		want := make([]float32, heads*size)
		RMSNorm(nil, want, x[ld:], w, heads, size, 1e-5, nil)
		if !slices.Equal(inPlace[ld:][:heads*size], want) || inPlace[ld-1] != x[ld-1] {
			t.Error("a token's heads are not RMSNorm's rows")
		}
		d := slices.Clone(dy)
		RMSNormHeadsBackward(nil, d, ld, tokens, heads, size, w, kept)
		gradient(t, "RMSNormHeads dx", x, dy, d, hn)
	})
}

func TestActivationGradients(t *testing.T) {
	each(t, func(t *testing.T) {
		const n = 40
		rnd := rng(5)
		x, dy, y, dx := randn(rnd, n), randn(rnd, n), make([]float32, n), make([]float32, n)
		for name, f := range map[string][2]func(){
			"SiLU":     {func() { SiLU(y, x) }, func() { SiLUBackward(dx, dy, x) }},
			"GELU":     {func() { GELU(y, x) }, func() { GELUBackward(dx, dy, x) }},
			"GELUTanh": {func() { GELUTanh(y, x) }, func() { GELUTanhBackward(dx, dy, x) }},
			"Softmax":  {func() { Softmax(nil, y, x, 4, n/4) }, func() { Softmax(nil, y, x, 4, n/4); SoftmaxBackward(nil, dx, dy, y, 4, n/4) }},
		} {
			f[1]()
			gradient(t, name, x, dy, dx, func() []float32 { f[0](); return y })
		}
		GELUTanhRowsBackward(nil, dx, dy, x, 4, n/4)
		gradient(t, "GELUTanhRows", x, dy, dx, func() []float32 { GELUTanhRows(nil, y, x, 4, n/4); return y })
		half, dhalf := make([]float32, n/2), randn(rnd, n/2)
		GeGLUBackward(nil, dx, dhalf, x, 2, n/4)
		gradient(t, "GeGLU", x, dhalf, dx, func() []float32 { GeGLU(nil, half, x, 2, n/4); return half })
		SwiGLUBackward(nil, dx, dhalf, x, 2, n/4)
		gradient(t, "SwiGLU", x, dhalf, dx, func() []float32 { SwiGLU(nil, half, x, 2, n/4); return half })
	})
}

func TestCrossEntropy(t *testing.T) {
	each(t, func(t *testing.T) {
		const rows, vocab = 3, 21
		rnd := rng(6)
		x, w, target := randn(rnd, rows*vocab), []float32{1, 0, 0.5}, []int32{3, 20, 0}
		loss := make([]float32, rows)
		f := func() []float32 { CrossEntropy(nil, loss, x, target, w, rows, vocab, false); return loss }
		f()
		var sum float64
		for _, v := range x[2*vocab:] {
			sum += math.Exp(float64(v))
		}
		near(t, "loss", loss, []float32{loss[0], 0, float32(0.5 * (math.Log(sum) - float64(x[2*vocab])))}, 1e-6)
		d := slices.Clone(x)
		CrossEntropy(nil, loss, d, target, w, rows, vocab, true)
		gradient(t, "cross entropy", x, []float32{1, 1, 1}, d, f)
	})
}

// TestGELUTanh compares with the definition in float64 over many lengths and the whole range.
func TestGELUTanh(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 17, geluPart, 2*geluPart + 9} {
			x := randn(rng(uint64(n)), n)
			Scale(3, x)
			if n > 20 {
				copy(x, []float32{0, 1e-20, -1e-20, 50, -50, 1000, -1000})
			}
			y, want := make([]float32, n), make([]float32, n)
			for i, v := range x {
				f := float64(v)
				want[i] = float32(0.5 * f * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(f+0.044715*f*f*f))))
			}
			GELUTanh(y, x)
			near(t, "gelu", y, want, 2e-6)
			GELUTanh(x, x)
			if !slices.Equal(x, y) {
				t.Error("in place: other bits")
			}
		}
	})
}
