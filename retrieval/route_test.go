package retrieval

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/kernels"
)

// randomLayer returns a layer with random weights; coarse ones, when asked, so that scores tie.
func randomLayer(rnd *rand.Rand, c Config, hidden int, standard, coarse bool) *Layer {
	draw := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rnd.NormFloat64() * 0.3)
			if coarse {
				v[i] = float32(rnd.IntN(3) - 1)
			}
		}
		return v
	}
	l := &Layer{Config: c, Hidden: hidden, OutScale: 1, W: draw(c.Heads * 2 * c.HalfDim * hidden), B: draw(c.Heads * 2 * c.HalfDim), Temp: make([]float32, c.Heads)}
	for half := range 2 {
		l.Keys[half], l.Bias[half] = draw(c.Heads*c.SubKeys*c.HalfDim), draw(c.Heads*c.SubKeys)
	}
	for h := range l.Temp {
		l.Temp[h] = 0.5 + rnd.Float32()
	}
	if standard {
		l.Mean, l.InvStd = draw(hidden), draw(hidden)
		for i, v := range l.InvStd {
			l.InvStd[i] = 0.5 + v*v
		}
	}
	return l
}

func randn(rnd *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rnd.NormFloat64())
	}
	return v
}

// bruteForce returns the k first of all cells in Route's order.
func bruteForce(s1, s2 []float32, k int) (cells []uint32, scores []float32) {
	n := len(s1)
	all := make([]uint32, n*n)
	for i := range all {
		all[i] = uint32(i)
	}
	desc := func(a, b float32) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	}
	slices.SortFunc(all, func(x, y uint32) int {
		xi, xj, yi, yj := int(x)/n, int(x)%n, int(y)/n, int(y)%n
		for _, c := range []int{desc(s1[xi]+s2[xj], s1[yi]+s2[yj]), desc(s1[xi], s1[yi]), xi - yi, desc(s2[xj], s2[yj]), xj - yj} {
			if c != 0 {
				return c
			}
		}
		return 0
	})
	for _, c := range all[:k] {
		scores = append(scores, s1[int(c)/n]+s2[int(c)%n])
	}
	return all[:k], scores
}

func TestProductIsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		k := rapid.IntRange(1, min(n*n, 64)).Draw(t, "k")
		levels := rapid.IntRange(1, 1000).Draw(t, "levels") // few: many ties
		step := rapid.SampledFrom([]float32{1, 0.1, 1e-7, 3e6}).Draw(t, "step")
		draw := func(name string) []float32 {
			v := make([]float32, n)
			for i := range v {
				v[i] = step*float32(rapid.IntRange(0, levels).Draw(t, name)) - 1
			}
			return v
		}
		s1, s2 := draw("s1"), draw("s2")
		cells, scores := make([]uint32, k), make([]float32, k)
		new(scratch).product(cells, scores, s1, s2, packedFor(Config{TopK: k, SubKeys: n}))
		want, wantScores := bruteForce(s1, s2, k)
		if !slices.Equal(cells, want) || !slices.Equal(scores, wantScores) {
			t.Fatalf("s1 %v\ns2 %v\ngot  %v %v\nwant %v %v", s1, s2, cells, scores, want, wantScores)
		}
	})
}

func packedFor(c Config) *packed { return &packed{order: candidates(c), blocks: blocks(c)} }

func BenchmarkProduct(b *testing.B) {
	for _, n := range []int{16, 64, 1024} {
		rnd := rand.New(rand.NewPCG(1, 1))
		const many = 64
		s := make([][]float32, 2*many)
		for i := range s {
			s[i] = randn(rnd, n)
		}
		var t scratch
		p := packedFor(Config{TopK: 16, SubKeys: n})
		cells, scores := make([]uint32, 16), make([]float32, 16)
		b.Run(cellsName(n, 1), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i = (i + 1) % many
				t.product(cells, scores, s[2*i], s[2*i+1], p)
			}
		})
	}
}

// reference routes one token in float64, from the unfolded weights.
func reference(l *Layer, x []float32, head int) (s1, s2 []float64) {
	half := func(i int) []float64 {
		q := make([]float64, l.HalfDim)
		for d := range q {
			row := (head*2+i)*l.HalfDim + d
			q[d] = float64(l.B[row])
			for j, v := range x {
				xh := float64(v)
				if l.Mean != nil {
					xh = (xh - float64(l.Mean[j])) * float64(l.InvStd[j])
				}
				q[d] += float64(l.W[row*l.Hidden+j]) * xh
			}
		}
		s := make([]float64, l.SubKeys)
		for key := range s {
			s[key] = float64(l.bias(head, i)[key])
			for d, v := range q {
				s[key] += v * float64(l.keys(head, i)[key*l.HalfDim+d])
			}
		}
		return s
	}
	return half(0), half(1)
}

func TestRouteAgainstReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range []Config{{2, 5, 6, 8}, {3, 16, 40, 8}, {1, 1, 1, 4}, {4, 16, 16, 32}} {
		for _, standard := range []bool{false, true} {
			l := randomLayer(rnd, c, 33, standard, false)
			const tokens = 21
			x := randn(rnd, tokens*l.Hidden)
			for _, train := range []bool{false, true} {
				r := Routing{Train: train}
				l.Route(nil, &r, x, tokens)
				for tok := range tokens {
					for h := range c.Heads {
						s1, s2 := reference(l, x[tok*l.Hidden:(tok+1)*l.Hidden], h)
						checkPicks(t, l, &r, tok, h, s1, s2)
					}
				}
			}
		}
	}
}

// checkPicks compares one head's selection with the scores of the reference.
func checkPicks(t *testing.T, l *Layer, r *Routing, tok, h int, s1, s2 []float64) {
	t.Helper()
	const tol = 1e-4
	n, k := l.SubKeys, l.TopK
	at := (tok*l.Heads + h) * k
	cells, gates := r.Cells[at:at+k], r.Gates[at:at+k]
	score := func(c uint32) float64 { return s1[int(c)/n] + s2[int(c)%n] }
	var sum float64
	chosen := map[uint32]bool{}
	for _, c := range cells {
		sum += math.Exp((score(c) - score(cells[0])) / float64(l.Temp[h]))
		chosen[c] = true
	}
	if len(chosen) != k {
		t.Fatalf("a cell twice in %v", cells)
	}
	for i, c := range cells {
		if want := math.Exp((score(c)-score(cells[0]))/float64(l.Temp[h])) / sum; math.Abs(float64(gates[i])-want) > tol {
			t.Fatalf("gate %d: %g, want %g", i, gates[i], want)
		}
	}
	for c := range n * n {
		if !chosen[uint32(c)] && score(uint32(c)) > score(cells[k-1])+tol {
			t.Fatalf("cell %d with score %g was not selected, %d with %g was", c, score(uint32(c)), cells[k-1], score(cells[k-1]))
		}
	}
}

// A token's routing depends on that token alone.
func TestRouteSameBits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	pool := kernels.NewPool(3)
	defer pool.Close()
	for _, c := range []Config{{4, 16, 16, 32}, {2, 8, 100, 16}} {
		l := randomLayer(rnd, c, 64, true, false)
		const tokens = 150
		x := randn(rnd, tokens*l.Hidden)
		var all, one Routing
		l.Route(pool, &all, x, tokens)
		per := c.Heads * c.TopK
		for tok := range tokens {
			l.Route([]*kernels.Pool{nil, pool}[tok%2], &one, x[tok*l.Hidden:(tok+1)*l.Hidden], 1)
			if !slices.Equal(one.Cells, all.Cells[tok*per:(tok+1)*per]) || !slices.Equal(one.Gates, all.Gates[tok*per:(tok+1)*per]) {
				t.Fatalf("%+v: token %d is routed differently alone", c, tok)
			}
		}
	}
}

// NaN must not lead outside the grid.
func TestRouteNaN(t *testing.T) {
	l := randomLayer(rand.New(rand.NewPCG(5, 6)), Config{2, 16, 16, 8}, 32, false, false)
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(math.NaN())
	}
	var r Routing
	l.Route(nil, &r, x, 1)
	for _, c := range r.Cells {
		if int(c) >= l.Cells() {
			t.Fatalf("cell %d of %d", c, l.Cells())
		}
	}
}

func TestRouteBackward(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range 4 {
		standard, normed := i%2 == 1, i >= 2
		l := randomLayer(rnd, Config{Heads: 2, TopK: 4, SubKeys: 5, HalfDim: 3}, 7, standard, false)
		const tokens = 6
		x := randn(rnd, tokens*l.Hidden)
		up := randn(rnd, tokens*l.Heads*l.TopK)
		r := Routing{Train: true}
		if normed {
			r.Norm = l.NewBatchNorm()
		}
		l.Route(nil, &r, x, tokens)
		cells := slices.Clone(r.Cells)
		g, dx := l.NewGrad(), make([]float32, len(x))
		l.RouteBackward(nil, g, dx, &r, up)
		loss := func() (float64, bool) {
			l.Changed()
			l.Route(nil, &r, x, tokens)
			var sum float64
			for i, v := range r.Gates {
				sum += float64(v) * float64(up[i])
			}
			return sum, slices.Equal(r.Cells, cells)
		}
		h := float32(2e-3)
		if normed { // a change of one value moves the queries of all tokens
			h = 5e-4
		}
		for name, p := range map[string][2][]float32{"x": {x, dx}, "W": {l.W, g.W}, "B": {l.B, g.B}, "keys": {l.Keys[0], g.Keys[0]}, "keys1": {l.Keys[1], g.Keys[1]}, "bias": {l.Bias[1], g.Bias[1]}} {
			checked := 0
			for i := range p[0] {
				old := p[0][i]
				p[0][i] = old + h
				a, ok1 := loss()
				p[0][i] = old - h
				b, ok2 := loss()
				p[0][i] = old
				if !ok1 || !ok2 { // another cell was selected: no derivative there
					continue
				}
				checked++
				if want := (a - b) / (2 * float64(h)); math.Abs(want-float64(p[1][i])) > 2e-3*(1+math.Abs(want)) {
					t.Fatalf("d%s[%d] = %g, finite differences %g (normalised %v)", name, i, p[1][i], want, normed)
				}
			}
			if checked < len(p[0])/2 {
				t.Fatalf("%s: only %d of %d values checked", name, checked, len(p[0]))
			}
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []Config{{}, {0, 1, 2, 2}, {1, 5, 2, 2}, {1, 1, 5000, 2}, {1, 1, 2, 0}, {65, 1, 2, 2}} {
		if c.Check() == nil {
			t.Errorf("%+v passes", c)
		}
	}
	for _, hidden := range []int{8, 192, 576, 4096} {
		if err := DefaultConfig(hidden).Check(); err != nil {
			t.Error(err)
		}
	}
	if b := DefaultBlocks(30); len(b) != 15 || b[0] != 1 || b[14] != 29 {
		t.Error(b)
	}
	if b := DefaultBlocks(1); len(b) != 1 {
		t.Error(b)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{16, 64, 256, 1024} {
		for _, tokens := range []int{1, 256} {
			b.Run(cellsName(n, tokens), func(b *testing.B) {
				rnd := rand.New(rand.NewPCG(1, 1))
				l := randomLayer(rnd, Config{4, 16, n, 32}, 576, true, false)
				x := randn(rnd, tokens*l.Hidden)
				var r Routing
				l.Route(nil, &r, x, tokens)
				for b.Loop() {
					l.Route(nil, &r, x, tokens)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tokens), "ns/token")
			})
		}
	}
}
