package peer

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// randomSample is a text of so many selections a layer, more of them in the cells from first on.
func randomSample(rnd *rand.Rand, cells []int, selections, first int) Sample {
	counts := make([][]uint32, len(cells))
	for l, n := range cells {
		counts[l] = make([]uint32, n)
		for range selections {
			c := rnd.IntN(n)
			if c < first && rnd.IntN(2) == 0 {
				c = first + rnd.IntN(n-first)
			}
			counts[l][c]++
		}
	}
	return NewSample(counts)
}

// TestDiscriminants compares with the covariance written out and inverted.
func TestDiscriminants(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 9))
	cells := []int{6, 9}
	classes := make([][]Sample, 3)
	for c, size := range []int{5, 8, 1} {
		for range size {
			classes[c] = append(classes[c], randomSample(rnd, cells, 10+rnd.IntN(20), c))
		}
	}
	odds, err := discriminants(cells, classes)
	if err != nil {
		t.Fatal(err)
	}
	const dim = 6 + 9
	shares := func(s Sample) []float64 {
		x, at := make([]float64, dim), 0
		for l, n := range cells {
			for _, h := range s[l] {
				x[at+int(h.Cell)] = float64(h.Count) / s.hits(l)
			}
			at += n
		}
		return x
	}
	means, n := make([][]float64, 3), 0
	sigma := mat.NewSymDense(dim, nil)
	for c, samples := range classes {
		means[c] = make([]float64, dim)
		for _, s := range samples {
			for i, v := range shares(s) {
				means[c][i] += v / float64(len(samples))
			}
		}
		for _, s := range samples {
			n++
			z := mat.NewVecDense(dim, shares(s))
			z.SubVec(z, mat.NewVecDense(dim, means[c]))
			sigma.SymRankOne(sigma, 1, z)
		}
	}
	sigma.ScaleSym(1/float64(n), sigma)
	r := shrinkage * mat.Trace(sigma) / float64(n)
	for i := range dim {
		sigma.SetSym(i, i, sigma.At(i, i)+r)
	}
	var inverse mat.SymDense
	var chol mat.Cholesky
	if !chol.Factorize(sigma) || chol.InverseTo(&inverse) != nil {
		t.Fatal("no covariance")
	}
	for k := range odds {
		v := mat.NewVecDense(dim, nil)
		v.SubVec(mat.NewVecDense(dim, means[0]), mat.NewVecDense(dim, means[k+1]))
		w := mat.NewVecDense(dim, nil)
		w.MulVec(&inverse, v)
		text := randomSample(rnd, cells, 40, 3)
		x, middle := shares(text), 0.0
		var want, got float64
		for i := range dim {
			middle += w.AtVec(i) * (means[0][i] + means[k+1][i]) / 2
			want += w.AtVec(i) * x[i]
		}
		want -= middle
		for l := range cells {
			for _, h := range text[l] {
				got += float64(odds[k][l][h.Cell]) * float64(h.Count) / text.hits(l) / float64(len(cells))
			}
		}
		if math.Abs(got-want) > 1e-4*(1+math.Abs(want)) {
			t.Errorf("class %d: %g, want %g", k+1, got, want)
		}
	}
	alike := []Sample{classes[0][0], classes[0][0]}
	if _, err := discriminants(cells, [][]Sample{alike, {classes[1][0]}}); err != nil {
		t.Error("samples without variance:", err)
	}
}

// TestDistance compares with the covariance written out and inverted.
func TestDistance(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 9))
	cells := []int{6, 9}
	g := &Gate{Counts: [][]uint32{make([]uint32, 6), make([]uint32, 9)}}
	for range 7 {
		g.Samples = append(g.Samples, randomSample(rnd, cells, 10+rnd.IntN(20), 0))
	}
	const dim, n = 6 + 9, 7
	shares := func(s Sample) *mat.VecDense {
		x := mat.NewVecDense(dim, nil)
		for l, at := range []int{0, 6} {
			for _, h := range s[l] {
				x.SetVec(at+int(h.Cell), float64(h.Count)/s.hits(l))
			}
		}
		return x
	}
	mean, sigma := mat.NewVecDense(dim, nil), mat.NewDense(dim, dim, nil)
	for _, s := range g.Samples {
		mean.AddScaledVec(mean, 1./n, shares(s))
	}
	for _, s := range g.Samples {
		z := mat.NewVecDense(dim, nil)
		z.SubVec(shares(s), mean)
		sigma.RankOne(sigma, 1./n, z, z)
	}
	r := typicalShrinkage * mat.Trace(sigma) / n
	for i := range dim {
		sigma.Set(i, i, sigma.At(i, i)+r)
	}
	var inverse mat.Dense
	if err := inverse.Inverse(sigma); err != nil {
		t.Fatal(err)
	}
	for first := range 4 {
		s := randomSample(rnd, cells, 30, first)
		z := mat.NewVecDense(dim, nil)
		z.SubVec(shares(s), mean)
		if want, got := mat.Inner(z, &inverse, z), g.Distance(s); math.Abs(got-want) > 1e-9*want {
			t.Errorf("distance %v, want %v", got, want)
		}
	}
}
