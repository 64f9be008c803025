package kernels

import (
	"math"
	"slices"
	"testing"
)

// TestSoftCap compares with the definition in float64, in any number of threads.
func TestSoftCap(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		const rows, cols, limit = 5, 37, 3
		x, want := randn(rng(1), rows*cols), make([]float32, rows*cols)
		Scale(4, x)
		copy(x, []float32{0, 1e4, -1e4, float32(math.Inf(1)), float32(math.Inf(-1))})
		for i, v := range x {
			want[i] = float32(limit * math.Tanh(float64(v)/limit))
		}
		got, par := slices.Clone(x), slices.Clone(x)
		SoftCap(nil, got, rows, cols, limit)
		SoftCap(two, par, rows, cols, limit)
		near(t, "capped", got, want, 1e-6)
		if !slices.Equal(got, par) {
			t.Error("threads change the bits")
		}
		nan := []float32{float32(math.NaN())}
		if SoftCap(nil, nan, 1, 1, limit); nan[0] == nan[0] {
			t.Error("NaN is lost")
		}
	})
}

// TestCrossEntropyCapped: the loss is that of capped logits, the gradient that of the logits before.
func TestCrossEntropyCapped(t *testing.T) {
	each(t, func(t *testing.T) {
		const rows, vocab, limit = 3, 21, 1.5
		x, w, target := randn(rng(6), rows*vocab), []float32{1, 0, 0.5}, []int32{3, 20, 0}
		f := func() []float32 {
			loss := make([]float32, rows)
			CrossEntropyCapped(nil, loss, slices.Clone(x), target, w, rows, vocab, limit, false)
			return loss
		}
		capped, want := slices.Clone(x), make([]float32, rows)
		SoftCap(nil, capped, rows, vocab, limit)
		CrossEntropy(nil, want, capped, target, w, rows, vocab, false)
		if got := f(); !slices.Equal(got, want) {
			t.Errorf("losses %v, want %v", got, want)
		}
		d := slices.Clone(x)
		CrossEntropyCapped(nil, want, d, target, w, rows, vocab, limit, true)
		gradient(t, "capped cross entropy", x, []float32{1, 1, 1}, d, f)
	})
}
