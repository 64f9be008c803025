package kernels

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSoftmax: rows sum to one, agree with float64, and a constant added to a row changes nothing.
func TestSoftmax(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			rows, cols := rapid.IntRange(0, 40).Draw(rt, "rows"), rapid.IntRange(1, 70).Draw(rt, "cols")
			spread := rapid.SampledFrom([]float32{0, 1, 30, 1e4}).Draw(rt, "spread")
			x := randn(rng(rapid.Uint64().Draw(rt, "seed")), rows*cols)
			Scale(spread, x)
			y, par := make([]float32, len(x)), slices.Clone(x)
			Softmax(nil, y, x, rows, cols)
			Softmax(two, par, par, rows, cols) // in place
			if !slices.Equal(y, par) {
				rt.Fatal("threads or the place change the bits")
			}
			for r := range rows {
				in, out := x[r*cols:][:cols], y[r*cols:][:cols]
				top := float64(slices.Max(in))
				var sum, got float64
				want := make([]float32, cols)
				for _, v := range in {
					sum += math.Exp(float64(v) - top)
				}
				for i, v := range in {
					want[i] = float32(math.Exp(float64(v)-top) / sum)
					got += float64(out[i])
				}
				near(t, "softmax", out, want, 1e-6)
				near(t, "sum", []float32{float32(got)}, []float32{1}, 1e-6)
			}
			for i := range x {
				x[i] += 64
			}
			Softmax(nil, par, x, rows, cols)
			near(t, "shifted", par, y, 1e-5*float64(1+spread/30))
		})
	})
}

// TestSoftmaxOfMasked: -Inf is probability 0 and takes nothing from the others.
func TestSoftmaxOfMasked(t *testing.T) {
	each(t, func(t *testing.T) {
		x := randn(rng(1), 40)
		y, want := make([]float32, 40), make([]float32, 23)
		Softmax(nil, want, x[:23], 1, 23)
		for i := 23; i < 40; i++ {
			x[i] = negInf
		}
		Softmax(nil, y, x, 1, 40)
		near(t, "visible", y[:23], want, 1e-6)
		near(t, "masked", y[23:], make([]float32, 17), 0)
	})
}

// TestCrossEntropyRows: losses agree with float64, gradients of a row sum to zero and do not depend on threads, and
// logits stay as they are without grad.
func TestCrossEntropyRows(t *testing.T) {
	two := NewPool(2)
	defer two.Close()
	each(t, func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			rows, vocab := rapid.IntRange(0, 6).Draw(rt, "rows"), rapid.SampledFrom([]int{1, 2, 15, 16, 17, 500}).Draw(rt, "vocab")
			rnd := rng(rapid.Uint64().Draw(rt, "seed"))
			x := randn(rnd, rows*vocab)
			Scale(10, x)
			targets, weights := make([]int32, rows), make([]float32, rows)
			for r := range targets {
				targets[r], weights[r] = int32(rnd.IntN(vocab)), float32(rnd.IntN(3))
				if weights[r] == 0 {
					targets[r] = -1 // nothing to predict
				}
			}
			loss, again, want := make([]float32, rows), make([]float32, rows), make([]float32, rows)
			kept := slices.Clone(x)
			CrossEntropy(nil, loss, kept, targets, weights, rows, vocab, false)
			if !slices.Equal(kept, x) {
				rt.Fatal("logits changed")
			}
			grad, par := slices.Clone(x), slices.Clone(x)
			CrossEntropy(nil, again, grad, targets, weights, rows, vocab, true)
			CrossEntropy(two, again, par, targets, weights, rows, vocab, true)
			if !slices.Equal(grad, par) || !slices.Equal(loss, again) {
				rt.Fatal("threads or the gradient change the bits")
			}
			for r := range rows {
				if weights[r] == 0 {
					near(t, "masked row", grad[r*vocab:][:vocab], make([]float32, vocab), 0)
					continue
				}
				in := x[r*vocab:][:vocab]
				top := float64(slices.Max(in))
				var sum, g float64
				for i, v := range in {
					sum += math.Exp(float64(v) - top)
					g += float64(grad[r*vocab+i])
				}
				want[r] = weights[r] * float32(math.Log(sum)+top-float64(in[targets[r]]))
				near(t, "sum of a row's gradient", []float32{float32(g)}, []float32{0}, 4e-6)
			}
			near(t, "loss", loss, want, 1e-6)
		})
	})
}
