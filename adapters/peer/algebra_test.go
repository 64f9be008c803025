package peer

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

const testHidden = 32

// testRouter returns a router of two layers, for blocks 1 and 4.
func testRouter(seed uint64) *retrieval.Router {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := &retrieval.Router{Base: "base", Hidden: testHidden}
	for _, block := range []int{1, 4} {
		l := &retrieval.Layer{Config: retrieval.Config{Heads: 2, TopK: 4, SubKeys: 6, HalfDim: 8}, Block: block, Hidden: testHidden, OutScale: 1.5}
		l.W, l.B, l.Temp = randn(rnd, 2*2*8*testHidden), randn(rnd, 2*2*8), []float32{2, 3}
		for half := range 2 {
			l.Keys[half], l.Bias[half] = randn(rnd, 2*6*8), randn(rnd, 2*6)
		}
		l.Mean, l.InvStd = randn(rnd, testHidden), make([]float32, testHidden)
		for i := range l.InvStd {
			l.InvStd[i] = 0.5 + rnd.Float32()
		}
		r.Layers = append(r.Layers, l)
	}
	return r
}

func randn(rnd *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rnd.NormFloat64())
	}
	return v
}

// testSet returns a set with random rows, v not zero, and a random occupancy in which cells share and experts roam.
func testSet(t interface{ Fatal(...any) }, r *retrieval.Router, name string, seed uint64, f Format) *Set {
	rnd := rand.New(rand.NewPCG(seed, 2))
	places := make([]Placement, len(r.Layers))
	for i, l := range r.Layers {
		experts := 1 + rnd.IntN(l.Cells())
		var posts []retrieval.Post
		for c := range l.Cells() {
			for e := range experts {
				if rnd.IntN(experts+1) < 2 {
					posts = append(posts, retrieval.Post{Cell: uint32(c), Expert: uint32(e)})
				}
			}
		}
		o, err := retrieval.NewOccupancy(l.Cells(), experts, posts)
		if err != nil {
			t.Fatal(err)
		}
		places[i] = Placement{Occupancy: o}
	}
	s, err := NewSet(nil, name, neuron.SiLU, r, places, seed, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range s.Tables {
		for e := range table.Rows.Len() {
			table.Rows.Set(e, randn(rnd, table.Rows.Width))
		}
	}
	return s
}

func output(t interface{ Fatal(...any) }, p *kernels.Pool, r *retrieval.Router, y0, x []float32, tokens int, sets ...*Set) []float32 {
	s, err := NewStack(r, p, sets...)
	if err != nil {
		t.Fatal(err)
	}
	y := slices.Clone(y0)
	for _, b := range append(r.Blocks(), 0) {
		if err := s.Forward(b, y, x, tokens); err != nil {
			t.Fatal(err)
		}
	}
	return y
}

// reference computes y of one layer in float64 from the routing.
func reference(s *Set, l *retrieval.Layer, y, x []float32, tokens int) []float64 {
	var r retrieval.Routing
	l.Route(nil, &r, x, tokens)
	out, t, hid := make([]float64, len(y)), s.Table(l.Block), s.Hidden
	per := l.Heads * l.TopK
	buf := make([]float32, t.Rows.Width)
	for i := range out {
		out[i] = float64(y[i])
	}
	for i, cell := range r.Cells {
		tok := i / per
		for _, e := range t.Occupancy.Lookup(cell) {
			row := t.Rows.Row(int(e), buf)
			var h float64
			for j, u := range row[:hid] {
				h += float64(u) * float64(r.XHat[tok*hid+j])
			}
			a := float64(s.Scale*l.OutScale) * float64(r.Gates[i]) * h / (1 + math.Exp(-h))
			for j, v := range row[hid:] {
				out[tok*hid+j] += a * float64(v)
			}
		}
	}
	return out
}

func TestStackAgainstReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	pool := kernels.NewPool(2)
	defer pool.Close()
	r := testRouter(3)
	for _, tokens := range []int{1, 5, 300} {
		for _, f := range []Format{F32, BF16} {
			s := testSet(t, r, "a", 4, f)
			s.Scale = 0.7
			x, y := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
			stack, err := NewStack(r, pool, s)
			if err != nil {
				t.Fatal(err)
			}
			want := reference(s, r.Layers[0], y, x, tokens)
			if err := stack.Forward(1, y, x, tokens); err != nil {
				t.Fatal(err)
			}
			for i := range y {
				if math.Abs(float64(y[i])-want[i]) > 1e-4*(1+math.Abs(want[i])) {
					t.Fatalf("%d tokens, %v: y[%d] = %g, want %g", tokens, f, i, y[i], want[i])
				}
			}
		}
	}
}

// TestAlgebra: what must hold to the bit whatever sets there are.
func TestAlgebra(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	best := kernels.Active()
	for _, isa := range kernels.Supported() {
		if err := kernels.Use(isa); err != nil {
			t.Fatal(err)
		}
		t.Run(isa.String(), func(t *testing.T) { algebra(t, pool) })
	}
	if err := kernels.Use(best); err != nil {
		t.Fatal(err)
	}
}

func algebra(t *testing.T, pool *kernels.Pool) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64Range(0, 1<<40).Draw(t, "seed")
		tokens := rapid.SampledFrom([]int{1, 3, 40, 200}).Draw(t, "tokens")
		rnd := rand.New(rand.NewPCG(seed, 3))
		r := testRouter(seed)
		x, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
		zero := make([]float32, len(y0))
		a, b := testSet(t, r, "a", seed+1, BF16), testSet(t, r, "b", seed+2, F32)
		yA := output(t, pool, r, zero, x, tokens, a)
		// sets add up, in each layer
		for _, l := range r.Layers {
			s, err := NewStack(r, pool, a, b)
			if err != nil {
				t.Fatal(err)
			}
			sum := slices.Clone(zero)
			if err := s.Forward(l.Block, sum, x, tokens); err != nil {
				t.Fatal(err)
			}
			one, two := slices.Clone(zero), slices.Clone(zero)
			for _, c := range []struct {
				y   []float32
				set *Set
			}{{one, a}, {two, b}} {
				alone, err := NewStack(r, nil, c.set)
				if err != nil {
					t.Fatal(err)
				}
				if err := alone.Forward(l.Block, c.y, x, tokens); err != nil {
					t.Fatal(err)
				}
			}
			kernels.Add(one, one, two)
			if !slices.Equal(sum, one) {
				t.Fatal("y_A+B is not y_A + y_B")
			}
		}
		// the order in which they were added does not matter, nor does the number of threads
		both := output(t, pool, r, y0, x, tokens, a, b)
		if !slices.Equal(both, output(t, nil, r, y0, x, tokens, b, a)) {
			t.Fatal("the order of adding, or the number of threads, matters")
		}
		// without b again
		if !slices.Equal(yA, output(t, nil, r, zero, x, tokens, a)) {
			t.Fatal("a alone differs after b was on")
		}
		// v = 0 changes nothing
		for _, table := range b.Tables {
			for e := range table.Rows.Len() {
				clear(table.Rows.F32[e*table.Rows.Width+testHidden : (e+1)*table.Rows.Width])
			}
		}
		if !slices.Equal(y0, output(t, pool, r, y0, x, tokens, b)) {
			t.Fatal("a set with v = 0 changes y")
		}
		// a token alone gives the bits it gives among others
		tok := rapid.IntRange(0, tokens-1).Draw(t, "token")
		for _, p := range []*kernels.Pool{nil, pool} {
			alone := output(t, p, r, zero[:testHidden], x[tok*testHidden:(tok+1)*testHidden], 1, a)
			if !slices.Equal(alone, yA[tok*testHidden:(tok+1)*testHidden]) {
				t.Fatal("a token alone gives other bits")
			}
		}
	})
}

// TestAbstention: a set in no selected cell leaves y alone, to the sign of a zero.
func TestAbstention(t *testing.T) {
	r := testRouter(9)
	l := r.Layers[0]
	x := randn(rand.New(rand.NewPCG(4, 4)), testHidden)
	var route retrieval.Routing
	l.Route(nil, &route, x, 1)
	var free []retrieval.Post
	for c := range l.Cells() {
		if !slices.Contains(route.Cells, uint32(c)) {
			free = append(free, retrieval.Post{Cell: uint32(c)})
		}
	}
	o, err := retrieval.NewOccupancy(l.Cells(), 1, free)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSet(nil, "elsewhere", neuron.SiLU, r, []Placement{{Occupancy: o}, {}}, 1, F32)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Tables[0].Rows.F32 {
		s.Tables[0].Rows.F32[i] = 1
	}
	negZero := float32(math.Copysign(0, -1))
	y := make([]float32, testHidden)
	for i := range y {
		y[i] = negZero
	}
	for i, v := range output(t, nil, r, y, x, 1, s) {
		if math.Float32bits(v) != math.Float32bits(negZero) {
			t.Fatalf("y[%d] changed to %g", i, v)
		}
	}
	if s.Table(4) != nil || s.Experts() != 1 {
		t.Error("a layer without placement got a table")
	}
}

func TestStackErrors(t *testing.T) {
	r := testRouter(1)
	a := testSet(t, r, "a", 1, F32)
	if _, err := NewStack(testRouter(2), nil, a); !errors.Is(err, ErrOtherRouter) {
		t.Error("a set of another router:", err)
	}
	if _, err := NewStack(r, nil, a, a); err == nil {
		t.Error("a set twice passes")
	}
	s, err := NewStack(r, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Forward(1, make([]float32, 3), make([]float32, 3), 1); err == nil {
		t.Error("short rows pass")
	}
	broken := testSet(t, r, "b", 1, F32)
	broken.Tables[0].Rows.F32 = broken.Tables[0].Rows.F32[:testHidden*2]
	if len(broken.Tables[0].Rows.F32) != len(a.Tables[0].Rows.F32) && broken.Check(r) == nil {
		t.Error("missing rows pass")
	}
}

// TestStackConcurrent: one stack serves several goroutines.
func TestStackConcurrent(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	r := testRouter(3)
	s, err := NewStack(r, pool, testSet(t, r, "a", 1, BF16), testSet(t, r, "b", 2, F32))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		x := randn(rand.New(rand.NewPCG(uint64(g), 1)), 150*testHidden)
		want := make([]float32, len(x))
		if err := s.Forward(1, want, x, 150); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 10 {
				y := make([]float32, len(x))
				if err := s.Forward(1, y, x, 150); err != nil || !slices.Equal(y, want) {
					t.Error("another result beside other goroutines", err)
				}
			}
		})
	}
	wg.Wait()
}
