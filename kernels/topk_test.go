package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTopK compares with a stable sort, on few different values so that ties are common.
func TestTopK(t *testing.T) {
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			spread := rapid.SampledFrom([]int{1, 5, 1000}).Draw(rt, "spread")
			x := make([]float32, rapid.IntRange(1, 700).Draw(rt, "n"))
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			for i := range x {
				x[i] = float32(rnd.IntN(2*spread+1) - spread)
			}
			if rapid.Bool().Draw(rt, "infinite") {
				x[0], x[len(x)/2] = float32(math.Inf(-1)), float32(math.Inf(1))
			}
			k := rapid.IntRange(0, min(len(x), 40)).Draw(rt, "k")
			val, idx := make([]float32, k), make([]int32, k)
			TopK(val, idx, x)
			want := make([]int32, len(x))
			for i := range want {
				want[i] = int32(i)
			}
			slices.SortStableFunc(want, func(a, b int32) int {
				switch {
				case x[a] > x[b]:
					return -1
				case x[a] < x[b]:
					return 1
				}
				return 0
			})
			for i := range k {
				if idx[i] != want[i] || val[i] != x[want[i]] {
					rt.Fatalf("top %d of %v: %v, want %v", k, x, idx, want[:k])
				}
			}
		})
	})
}

// TestTopKOfNaN: whatever comes out, positions stay inside.
func TestTopKOfNaN(t *testing.T) {
	each(t, func(t *testing.T) {
		x := randn(rng(1), 100)
		for i := 0; i < len(x); i += 3 {
			x[i] = float32(math.NaN())
		}
		val, idx := make([]float32, 7), make([]int32, 7)
		TopK(val, idx, x)
		for _, i := range idx {
			if i < 0 || int(i) >= len(x) {
				t.Fatalf("position %d of %d", i, len(x))
			}
		}
	})
}

// TestSort16 sorts all arrays of zeros and ones, and with that (0-1 principle) all arrays.
func TestSort16(t *testing.T) {
	for bits := range 1 << 16 {
		var a [16]uint64
		for i := range a {
			a[i] = uint64(bits >> i & 1)
		}
		sort16(&a)
		for i := 1; i < 16; i++ {
			if a[i] > a[i-1] {
				t.Fatalf("%016b: %v", bits, a)
			}
		}
	}
}

func TestSortKey(t *testing.T) {
	falling := []float32{float32(math.Inf(1)), 3e38, 1, 1e-45, 0, -1e-45, -1, -3e38, float32(math.Inf(-1))}
	for i, a := range falling {
		for j, b := range falling {
			if (sortKey(a, 7) > sortKey(b, 7)) != (i < j) {
				t.Errorf("%g, %g", a, b)
			}
		}
	}
	if negZero := float32(math.Copysign(0, -1)); sortKey(negZero, 3) != sortKey(0, 3) || sortKey(1, 3) <= sortKey(1, 4) {
		t.Error("ties")
	}
}

func BenchmarkTopK(b *testing.B) {
	for _, n := range []struct {
		name string
		n, k int
	}{{"16of16", 16, 16}, {"16of30", 30, 16}, {"16of64", 64, 16}, {"16of256", 256, 16}, {"16of1024", 1024, 16}} {
		x := randn(rng(1), n.n)
		val, idx := make([]float32, n.k), make([]int32, n.k)
		b.Run(n.name, func(b *testing.B) {
			for b.Loop() {
				TopK(val, idx, x)
			}
		})
	}
}
