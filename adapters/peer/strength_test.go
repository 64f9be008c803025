package peer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/kernels"
)

// added returns what one layer's sets add to the stream y0, and does it with the pool.
func added(t interface{ Fatal(...any) }, s *Stack, block int, y0, x []float32, tokens int) []float32 {
	y := slices.Clone(y0)
	if err := s.Forward(block, y, x, tokens); err != nil {
		t.Fatal(err)
	}
	for i := range y {
		y[i] -= y0[i]
	}
	return y
}

// TestCaps: of every token a set adds at most its cap of the stream as it was before any set; what is below is untouched,
// to the bit, whatever other sets are on and however the work is split.
func TestCaps(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 1<<40).Draw(t, "seed")
		tokens := rapid.SampledFrom([]int{1, 3, 40, 200}).Draw(t, "tokens")
		share := rapid.Float32Range(0.01, 20).Draw(t, "cap")
		rnd := rand.New(rand.NewPCG(seed, 3))
		r := testRouter(seed)
		x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
		for _, f := range []Format{F32, BF16} {
			a, b := testSet(t, r, "a", seed+1, f), testSet(t, r, "b", seed+2, BF16)
			free := output(t, pool, r, y0, x, tokens, a)
			capped := *a
			capped.Tables = []*Table{{}, {}}
			for i, table := range a.Tables {
				*capped.Tables[i] = *table
				capped.Tables[i].Cap = share
			}
			for _, l := range r.Layers {
				one, err := NewStack(r, pool, a)
				if err != nil {
					t.Fatal(err)
				}
				less, err := NewStack(r, pool, &capped)
				if err != nil {
					t.Fatal(err)
				}
				whole, bound := added(t, one, l.Block, y0, x, tokens), added(t, less, l.Block, y0, x, tokens)
				for i := range tokens {
					lo, hi := i*testHidden, (i+1)*testHidden
					most, is, was := float64(share*norm(y0[lo:hi])), float64(norm(bound[lo:hi])), float64(norm(whole[lo:hi]))
					if want := min(most, was); math.Abs(is-want) > 1e-4*(1+was) {
						t.Fatalf("token %d: adds %g of %g, its bound is %g", i, is, was, most)
					}
					if was < most*0.999 && !slices.Equal(bound[lo:hi], whole[lo:hi]) {
						t.Fatalf("token %d changed although it is within its bound", i)
					}
					if cos := kernels.Dot(whole[lo:hi], bound[lo:hi]) / float32(max(1e-20, is*was)); was > 1e-3 && is > 1e-3 && cos < 0.999 {
						t.Fatalf("token %d: turned, cosine %g", i, cos)
					}
				}
			}
			// the same bits on any number of threads, for a token alone, and in either order beside another set
			got := output(t, pool, r, y0, x, tokens, &capped, b)
			if !slices.Equal(got, output(t, nil, r, y0, x, tokens, b, &capped)) {
				t.Fatal("the order of adding, or the number of threads, matters")
			}
			alone := output(t, pool, r, y0[:testHidden], x[:testHidden], 1, &capped, b)
			if !slices.Equal(alone, got[:testHidden]) {
				t.Fatal("a token alone gives other bits")
			}
			if !slices.Equal(free, output(t, pool, r, y0, x, tokens, a)) {
				t.Fatal("capping a copy changed the set")
			}
		}
	})
}

// TestCappedBeside: a capped set adds in training, beside the trained one, what it adds otherwise.
func TestCappedBeside(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 3))
	r := testRouter(5)
	const tokens = 150
	x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	a, b := testSet(t, r, "a", 1, F32), testSet(t, r, "b", 2, F32)
	for i := range b.Tables {
		a.Tables[i].Cap, b.Tables[i].Cap = 0.5, 0.5
	}
	tr, err := NewTraining(r, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	if a.Tables[0].Cap != 0 || b.Tables[0].Cap != 0.5 {
		t.Error("training takes off the trained set's caps, and no others'")
	}
	y := slices.Clone(y0)
	for _, block := range r.Blocks() {
		if err := tr.Forward(block, y, x, tokens); err != nil {
			t.Fatal(err)
		}
	}
	if want := output(t, nil, r, y0, x, tokens, a, b); !slices.Equal(y, want) {
		t.Error("in training the sets add something else")
	}
	// The gradient of the input, the share that the caps leave being constant.
	l, dy := tr.Layer(1), randn(rnd, tokens*testHidden)
	y, dx := slices.Clone(y0), make([]float32, tokens*testHidden)
	if err := l.Forward(y, x, tokens); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Backward(dx, dy); err != nil {
		t.Fatal(err)
	}
	scaled := slices.Clone(dy)
	for i, share := range slices.Concat(l.banks[0].tiles[0].shares[1], l.banks[0].tiles[1].shares[1]) {
		if share <= 0 || share > 1 {
			t.Fatalf("token %d: share %g", i, share)
		}
		kernels.Scale(share, scaled[i*testHidden:(i+1)*testHidden])
	}
	want := make([]float32, tokens*testHidden)
	for _, part := range []struct {
		set *Set
		dy  []float32
	}{{a, dy}, {b, scaled}} {
		one, err := NewTraining(r, nil, part.set)
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Layer(1).Forward(slices.Clone(y0), x, tokens); err != nil {
			t.Fatal(err)
		}
		if _, err := one.Layer(1).Backward(want, part.dy); err != nil {
			t.Fatal(err)
		}
	}
	for i := range dx {
		if math.Abs(float64(dx[i]-want[i])) > 1e-4*(1+math.Abs(float64(want[i]))) {
			t.Fatalf("dx[%d] = %g, want %g", i, dx[i], want[i])
		}
	}
}

func TestStrength(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 3))
	r := testRouter(7)
	const tokens = 200
	x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	s, b := testSet(t, r, "a", 1, BF16), testSet(t, r, "b", 2, BF16)
	m, err := NewStrength(r, nil, s, b)
	if err != nil {
		t.Fatal(err)
	}
	if m.Fit(0.9) == nil {
		t.Error("caps fitted on nothing")
	}
	y := slices.Clone(y0)
	for _, block := range append(r.Blocks(), 0) {
		if err := m.Forward(block, y, x, tokens); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(y, output(t, nil, r, y0, x, tokens, s, b)) {
		t.Error("measuring changes what the sets add")
	}
	if m.Fit(0) == nil || m.Fit(1.5) == nil {
		t.Error("a quantile outside 0 to 1 passes")
	}
	for _, c := range []struct {
		quantile float64
		above    int
	}{{0.9, 20}, {0.995, 1}, {1, 0}} {
		if err := m.Fit(c.quantile); err != nil {
			t.Fatal(err)
		}
		above := 0
		for _, share := range m.Shares(1) {
			if share > s.Table(1).Cap {
				above++
			}
		}
		if above != c.above {
			t.Errorf("quantile %g: %d tokens above the cap, want %d", c.quantile, above, c.above)
		}
	}
}

func TestScaled(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 3))
	r := testRouter(9)
	const tokens = 40
	x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	s := testSet(t, r, "a", 1, BF16)
	s.Tables[0].Cap = 0.7
	if s.Scaled(1) != s {
		t.Error("strength 1 is another set")
	}
	whole, half := output(t, nil, r, y0, x, tokens, s), output(t, nil, r, y0, x, tokens, s.Scaled(0.5))
	for i := range whole {
		if want := y0[i] + (whole[i]-y0[i])/2; math.Abs(float64(half[i]-want)) > 1e-4*(1+math.Abs(float64(want))) {
			t.Fatalf("y[%d] = %g at half strength, want %g", i, half[i], want)
		}
	}
	if s.Scale != 1 || s.Tables[0].Cap != 0.7 {
		t.Error("a request's strength stayed with the set")
	}
}
