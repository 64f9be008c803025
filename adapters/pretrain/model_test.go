package pretrain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gopeft/peft/kernels"
)

var tiny = Shape{Vocab: 40, Hidden: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, FFN: 64, Context: 12, NormEps: 1e-5, RopeTheta: 10000}

func randomTokens(rng *rand.Rand, n, vocab int) []int32 {
	t := make([]int32, n)
	for i := range t {
		t[i] = int32(rng.IntN(vocab))
	}
	return t
}

// TestGradients compares the gradient of every weight tensor with central differences of the loss, along the gradient
// itself and along random directions.
func TestGradients(t *testing.T) {
	w, g := newWeights(tiny), newWeights(tiny)
	w.initialise(tiny, 3)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range w.flat { // nothing stays zero or one
		w.flat[i] += float32(rng.NormFloat64() * 0.1)
	}
	m := newModel(tiny, w, g, nil)
	tokens := randomTokens(rng, 3*(tiny.Context+1), tiny.Vocab)
	m.pack(kernels.F32)
	m.step(tokens, tiny.Context)
	loss := func() float64 {
		in, out := split(tokens, tiny.Context)
		l := make([]float32, len(in))
		m.pack(kernels.F32)
		m.forward(in, tiny.Context)
		m.head(l, out, false)
		return mean(l)
	}
	tensors := map[string][2][]float32{"embed": {w.embed, g.embed}, "norm": {w.norm, g.norm}}
	for i, n := range []string{"0.", "1."} {
		a, b := w.layers[i], g.layers[i]
		tensors[n+"attnNorm"] = [2][]float32{a.attnNorm, b.attnNorm}
		tensors[n+"qkv"] = [2][]float32{a.qkv, b.qkv}
		tensors[n+"out"] = [2][]float32{a.out, b.out}
		tensors[n+"ffnNorm"] = [2][]float32{a.ffnNorm, b.ffnNorm}
		tensors[n+"gateUp"] = [2][]float32{a.gateUp, b.gateUp}
		tensors[n+"down"] = [2][]float32{a.down, b.down}
	}
	for name, x := range tensors {
		norm := math.Sqrt(sumSquares(x[1]))
		if norm < 1e-4 {
			t.Errorf("%s: gradient's norm is %g: nothing reaches it", name, norm)
			continue
		}
		for trial := range 4 {
			dir := make([]float32, len(x[0]))
			for i := range dir {
				dir[i] = float32(rng.NormFloat64() / math.Sqrt(float64(len(dir))))
				dir[i] += x[1][i] / float32(norm)
			}
			if trial == 0 {
				copy(dir, x[1])
				kernels.Scale(float32(1/norm), dir)
			}
			want := float64(0)
			for i, d := range dir {
				want += float64(d) * float64(x[1][i])
			}
			const h = 3e-3
			old := append([]float32(nil), x[0]...)
			kernels.Axpy(h, dir, x[0])
			up := loss()
			copy(x[0], old)
			kernels.Axpy(-h, dir, x[0])
			got := (up - loss()) / (2 * h)
			copy(x[0], old)
			if math.Abs(got-want) > 1e-3*math.Abs(want)+2e-4 {
				t.Errorf("%s: derivative %g by differences, %g by backward", name, got, want)
			}
		}
	}
}

// TestOrthogonalise checks that all singular values come near 1: of x·xᵀ the diagonal is near 1 and the rest near 0.
func TestOrthogonalise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range [][2]int{{16, 48}, {48, 16}, {32, 32}} {
		x := make([]float32, s[0]*s[1])
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		var scratch [3][]float32
		orthogonalise(nil, x, s[0], s[1], &scratch)
		// the sum of squared singular values is the squared Frobenius norm: all in 0.6 … 1.3
		n := float64(min(s[0], s[1]))
		if f := sumSquares(x) / n; f < 0.5 || f > 1.5 {
			t.Errorf("%v: mean squared singular value %g, want about 1", s, f)
		}
		// and the sum of fourth powers must not show a few large ones
		r, k := s[0], s[1]
		gram := make([]float32, r*r)
		kernels.MatMulNT(nil, gram, x, x, r, r, k, false)
		if f := sumSquares(gram) / n; f > 1.8 {
			t.Errorf("%v: mean fourth power of singular values %g, want about 1", s, f)
		}
	}
}

func TestRate(t *testing.T) {
	o := Optimizer{Warmup: 10, Decay: 20}
	for _, c := range []struct {
		step int
		want float32
	}{{0, 0.1}, {9, 1}, {50, 1}, {79, 1}, {80, 1}, {90, 0.5}, {99, 0.05}} {
		if got := o.rate(c.step, 100); math.Abs(float64(got-c.want)) > 1e-6 {
			t.Errorf("rate(%d) = %g, want %g", c.step, got, c.want)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, heads := range []int{6, 3} {
		for _, prec := range []kernels.Precision{kernels.F32, kernels.BF16} {
			const length = 512
			s := Shape{Vocab: 4096, Hidden: 192, Layers: 6, Heads: heads, KVHeads: heads / 3, HeadDim: 192 / heads, FFN: 384, Context: length, NormEps: 1e-5, RopeTheta: 10000}
			b.Run(fmt.Sprintf("%dx%d/%v", heads, 192/heads, prec), func(b *testing.B) {
				w, g := newWeights(s), newWeights(s)
				w.initialise(s, 1)
				pool := kernels.NewPool(2)
				defer pool.Close()
				m := newModel(s, w, g, pool)
				o := newOptimizer(Optimizer{ClipNorm: 1}, s, w, g, pool)
				tokens := randomTokens(rand.New(rand.NewPCG(1, 1)), 4096/length*(length+1), s.Vocab)
				for b.Loop() {
					m.pack(prec)
					m.step(tokens, length)
					o.step(1, 10)
				}
				b.ReportMetric(float64(4096*b.N)/b.Elapsed().Seconds(), "tok/s")
			})
		}
	}
}
