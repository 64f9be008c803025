package pretrain

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
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

// variants are small layers of each kind.
var variants = map[string]Instead{
	"dense": {},
	"peer":  {Kind: PEER, Heads: 2, TopK: 3, SubKeys: 4, HalfDim: 6},
	"pkm":   {Kind: PKM, Heads: 2, TopK: 3, SubKeys: 4, HalfDim: 6, Blocks: []int{1}},
	"moe":   {Kind: MoE, Experts: 5, Active: 2, Width: 24, Balance: 0.5},
}

// choices returns which experts the last forward selected, ascending for each token and head.
func choices(m *model) []int {
	var all []int
	add := func(of []int, k int) {
		for i := 0; i < len(of); i += k {
			slices.Sort(of[i : i+k])
		}
		all = append(all, of...)
	}
	for _, f := range m.ffn {
		var of []int
		switch f := f.(type) {
		case *retrieved:
			for _, c := range f.layer.Routing().Cells {
				of = append(of, int(c))
			}
			add(of, f.router.TopK)
		case *mixture:
			for _, c := range f.chosen {
				of = append(of, int(c))
			}
			add(of, m.Instead.Active)
		}
	}
	return all
}

// TestGradients compares the gradient of every tensor of every variant with central differences of the loss, along the
// gradient itself and along random directions. Where another expert is selected the loss jumps and has no derivative: such
// a direction is not counted.
func TestGradients(t *testing.T) {
	all := maps.Clone(variants)
	all["other recipe"] = Instead{Kind: PEER, Heads: 2, TopK: 3, SubKeys: 4, HalfDim: 6, OutScale: 3, ValueStd: 1, Sigmoid: true, RawQuery: true}
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			s := tiny
			s.Instead = v
			testGradients(t, s)
		})
	}
}

func testGradients(t *testing.T, s Shape) {
	w, g := newWeights(s), newWeights(s)
	w.initialise(s, 3)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range w.flat { // nothing stays zero or one
		w.flat[i] += float32(rng.NormFloat64() * 0.1)
	}
	for _, e := range w.experts {
		if e != nil {
			for i := range e.table.Rows.F32 {
				e.table.Rows.F32[i] += float32(rng.NormFloat64() * 0.3)
			}
		}
	}
	m, err := newModel(s, w, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	tokens := randomTokens(rng, 3*(s.Context+1), s.Vocab)
	m.pack(kernels.F32)
	if _, err := m.step(tokens, s.Context); err != nil {
		t.Fatal(err)
	}
	selected := choices(m)
	loss := func() (float64, bool) {
		in, out := split(tokens, s.Context)
		l := make([]float32, len(in))
		m.pack(kernels.F32)
		if err := m.forward(in, s.Context); err != nil {
			t.Fatal(err)
		}
		m.head(l, out, false)
		sum := mean(l)
		for _, f := range m.ffn {
			if x, ok := f.(*mixture); ok {
				sum += x.balance()
			}
		}
		return sum, slices.Equal(choices(m), selected)
	}
	tensors := map[string][2][]float32{"embed": {w.embed, g.embed}, "norm": {w.norm, g.norm}}
	for i, n := range []string{"0.", "1."} {
		a, b := w.layers[i], g.layers[i]
		tensors[n+"attnNorm"] = [2][]float32{a.attnNorm, b.attnNorm}
		tensors[n+"qkv"] = [2][]float32{a.qkv, b.qkv}
		tensors[n+"out"] = [2][]float32{a.out, b.out}
		tensors[n+"ffnNorm"] = [2][]float32{a.ffnNorm, b.ffnNorm}
		for part, x := range map[string][2][]float32{"gateUp": {a.gateUp, b.gateUp}, "down": {a.down, b.down}, "choice": {a.choice, b.choice},
			"query": {a.query, b.query}, "shift": {a.shift, b.shift}, "keys0": {a.keys[0], b.keys[0]}, "keys1": {a.keys[1], b.keys[1]}} {
			if x[0] != nil {
				tensors[n+part] = x
			}
		}
		if r, ok := m.ffn[i].(*retrieved); ok {
			rows := w.experts[i].table.Rows
			d := make([]float32, len(rows.F32))
			for j, row := range r.grad.Rows {
				copy(d[int(row)*rows.Width:], r.grad.Row(j))
			}
			tensors[n+"experts"] = [2][]float32{rows.F32, d}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		x := tensors[name]
		norm := math.Sqrt(sumSquares(x[1]))
		if norm < 1e-4 {
			t.Errorf("%s: gradient's norm is %g: nothing reaches it", name, norm)
			continue
		}
		checked := 0
		for trial := 0; trial < 40 && checked < 4; trial++ {
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
			h := float32(3e-3)
			if selected != nil {
				h = 4e-4
			}
			old := append([]float32(nil), x[0]...)
			kernels.Axpy(h, dir, x[0])
			up, same := loss()
			copy(x[0], old)
			kernels.Axpy(-h, dir, x[0])
			down, too := loss()
			copy(x[0], old)
			if !same || !too {
				continue
			}
			checked++
			if got := (up - down) / (2 * float64(h)); math.Abs(got-want) > 1e-3*math.Abs(want)+2e-4 {
				t.Errorf("%s: derivative %g by differences, %g by backward", name, got, want)
			}
		}
		if checked < 2 {
			t.Errorf("%s: %d directions checked", name, checked)
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
				m, err := newModel(s, w, g, pool)
				if err != nil {
					b.Fatal(err)
				}
				o := newOptimizer(Optimizer{ClipNorm: 1}, m)
				tokens := randomTokens(rand.New(rand.NewPCG(1, 1)), 4096/length*(length+1), s.Vocab)
				for b.Loop() {
					m.pack(prec)
					if _, err := m.step(tokens, length); err != nil {
						b.Fatal(err)
					}
					o.step(1, 10)
				}
				b.ReportMetric(float64(4096*b.N)/b.Elapsed().Seconds(), "tok/s")
			})
		}
	}
}
