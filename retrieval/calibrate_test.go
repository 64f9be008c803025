package retrieval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/kernels"
)

// sources are samples by block.
type sources map[int]Sample

func (s sources) Sample(block int) (Sample, error) {
	if v, ok := s[block]; ok {
		return v, nil
	}
	return Sample{}, fmt.Errorf("no sample of block %d", block)
}

// clouds returns correlated inputs around a few centres, with one outlier dimension, in an order that mixes them.
func clouds(rnd *rand.Rand, tokens, hidden int) Sample {
	const k = 12
	centres, mix := randn(rnd, k*hidden), randn(rnd, hidden*hidden)
	s := Sample{Tokens: tokens, X: make([]float32, tokens*hidden), OutRMS: make([]float32, hidden)}
	for i := range s.OutRMS {
		s.OutRMS[i] = 2
	}
	s.OutRMS[3] = 1000
	for t := range tokens {
		c := rnd.IntN(k)
		z := randn(rnd, hidden)
		for j := range hidden {
			s.X[t*hidden+j] = 2*centres[c*hidden+j] + 0.3*kernels.Dot(mix[j*hidden:(j+1)*hidden], z)
		}
		s.X[t*hidden+3] *= 100
	}
	return s
}

func testOptions(hidden int) Options {
	return Options{Blocks: []int{1, 3}, Hidden: hidden, Seed: 7, Base: "abc", Config: Config{Heads: 3, TopK: 8, SubKeys: 8, HalfDim: 10}}
}

func testSources(hidden int) sources {
	rnd := rand.New(rand.NewPCG(1, 5))
	return sources{1: clouds(rnd, 900, hidden), 3: clouds(rnd, 900, hidden)}
}

func TestCalibrate(t *testing.T) {
	const hidden = 40
	src := testSources(hidden)
	pool := kernels.NewPool(2)
	defer pool.Close()
	ready := 0
	o := testOptions(hidden)
	o.Done = func(int) { ready++ }
	r, rep, err := Calibrate(context.Background(), pool, o, src)
	if err != nil {
		t.Fatal(err)
	}
	if ready != 2 || rep.Tokens != 720 || rep.HeldOut != 180 || len(rep.Layers) != 2 {
		t.Errorf("%d ready, report %+v", ready, rep)
	}
	for i, u := range rep.Layers {
		if u.Block != o.Blocks[i] || u.Tokens != 180 || u.Hit < 0.9 || u.Top1 < 0.5 || u.KL > 0.8 {
			t.Errorf("usage %+v", u)
		}
	}
	for _, l := range r.Layers {
		if l.OutScale != 2 {
			t.Errorf("output scale %g, want the median", l.OutScale)
		}
		var hits uint32
		for _, c := range l.Background {
			hits += c
		}
		if want := uint32(900 * 3 * 8); hits != want {
			t.Errorf("%d background hits, want %d", hits, want)
		}
		checkWhite(t, l, src[l.Block])
	}
	again, _, err := Calibrate(context.Background(), nil, testOptions(hidden), src)
	if err != nil {
		t.Fatal(err)
	}
	a, b := mustMarshal(t, r), mustMarshal(t, again)
	if !bytes.Equal(a, b) {
		t.Error("the number of threads changes the router")
	}
	other := testOptions(hidden)
	other.Seed++
	r2, _, err := Calibrate(context.Background(), nil, other, src)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, mustMarshal(t, r2)) {
		t.Error("the seed changes nothing")
	}
}

// checkWhite verifies that queries have mean 0 and covariance 1 on the text that the statistics were made from.
func checkWhite(t *testing.T, l *Layer, s Sample) {
	t.Helper()
	rows, q := 720, 2*l.HalfDim
	r := Routing{Train: true}
	l.Route(nil, &r, s.X[:rows*l.Hidden], rows)
	for h := range l.Heads {
		cov := make([]float64, q*q)
		for tok := range rows {
			v := r.Queries[(tok*l.Heads+h)*q:][:q]
			for i := range q {
				for j := range q {
					cov[i*q+j] += float64(v[i]) * float64(v[j]) / float64(rows)
				}
			}
		}
		for i := range q {
			for j := range q {
				want := 0.0
				if i == j {
					want = 1
				}
				if math.Abs(cov[i*q+j]-want) > 0.01 {
					t.Fatalf("head %d: covariance of query dimensions %d, %d is %g", h, i, j, cov[i*q+j])
				}
			}
		}
	}
}

func mustMarshal(t *testing.T, r *Router) []byte {
	t.Helper()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRouterRoundTrip(t *testing.T) {
	const hidden = 24
	o := testOptions(hidden)
	r, _, err := Calibrate(context.Background(), nil, o, testSources(hidden))
	if err != nil {
		t.Fatal(err)
	}
	b := mustMarshal(t, r)
	back, err := UnmarshalRouter(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mustMarshal(t, back), b) {
		t.Error("bytes differ after a round trip")
	}
	s1, err1 := r.SHA256()
	s2, err2 := back.SHA256()
	if s1 != s2 || len(s1) != 64 || err1 != nil || err2 != nil {
		t.Error(s1, s2, err1, err2)
	}
	if back.Layer(3) == nil || back.Layer(2) != nil || back.Base != "abc" {
		t.Error("layers or base lost")
	}
	for _, cut := range []int{0, 5, len(routerMagic) + 3, len(b) / 2, len(b) - 1} {
		if _, err := UnmarshalRouter(b[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if _, err := UnmarshalRouter(append(bytes.Clone(b), 0)); !errors.Is(err, ErrCorrupt) {
		t.Error("a byte too many passes:", err)
	}
	long := slices.Concat([]byte(routerMagic), []byte{0x83, 0}, b[len(routerMagic)+1:]) // the name's length, 3, in two bytes
	if _, err := UnmarshalRouter(long); !errors.Is(err, ErrCorrupt) {
		t.Error("another form of the same router passes:", err)
	}
	back.Layers[0].W[3] = float32(math.NaN())
	if _, err := back.Marshal(); err == nil {
		t.Error("NaN passes")
	}
}

func FuzzUnmarshalRouter(f *testing.F) {
	l := randomLayer(rand.New(rand.NewPCG(1, 2)), Config{1, 2, 2, 2}, 4, true, false)
	l.Background = make([]uint32, 4)
	r := &Router{Base: "b", Hidden: 4, Layers: []*Layer{l}}
	b, err := r.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := UnmarshalRouter(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if _, err := r.Marshal(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCalibrateErrors(t *testing.T) {
	const hidden = 24
	good := testSources(hidden)
	nan := testSources(hidden)
	nan[3].X[50] = float32(math.NaN())
	few := sources{1: {X: good[1].X[:10*hidden], Tokens: 10}, 3: good[3]}
	flat := sources{1: {X: make([]float32, 900*hidden), Tokens: 900}, 3: good[3]}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		src  sources
		edit func(*Options)
		want string
	}{
		"NaN":       {context.Background(), nan, nil, "does not work"},
		"few":       {context.Background(), few, nil, "give more text"},
		"flat":      {context.Background(), flat, nil, "do not vary"},
		"no sample": {context.Background(), good, func(o *Options) { o.Blocks = []int{2} }, "no sample"},
		"order":     {context.Background(), good, func(o *Options) { o.Blocks = []int{3, 1} }, "ascending"},
		"wide":      {context.Background(), good, func(o *Options) { o.Config.HalfDim = 13 }, "at most 12"},
		"top-k":     {context.Background(), good, func(o *Options) { o.Config.TopK = 100 }, "more sub-keys"},
		"canceled":  {canceled, good, nil, "canceled"},
	} {
		o := testOptions(hidden)
		if c.edit != nil {
			c.edit(&o)
		}
		if _, _, err := Calibrate(c.ctx, nil, o, c.src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestClusterFindsClouds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	const n, dim, rows = 6, 4, 600
	means := randn(rnd, n*dim)
	points := make([]float32, rows*dim)
	for i := range rows {
		for j := range dim {
			points[i*dim+j] = 20*means[i%n*dim+j] + float32(rnd.NormFloat64())
		}
	}
	centres := cluster(nil, points, rows, dim, n, 12, rnd)
	for c := range n {
		best := math.Inf(1)
		for k := range n {
			var d float64
			for j := range dim {
				e := float64(centres[k*dim+j] - 20*means[c*dim+j])
				d += e * e
			}
			best = min(best, d)
		}
		if best > 1 {
			t.Errorf("no centre near cloud %d: squared distance %g", c, best)
		}
	}
	// fewer distinct points than centres: no NaN, every centre a point
	same := make([]float32, 20*dim)
	for i := range 10 {
		same[i*dim] = 1
	}
	for _, v := range cluster(nil, same, 20, dim, 5, 12, rnd) {
		if v != 0 && v != 1 {
			t.Errorf("centre %g of points 0 and 1", v)
		}
	}
}

func BenchmarkCalibrate(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 5))
	src := sources{1: clouds(rnd, 2048, 576)}
	for b.Loop() {
		if _, _, err := Calibrate(context.Background(), nil, Options{Blocks: []int{1}, Hidden: 576}, src); err != nil {
			b.Fatal(err)
		}
	}
}
