package peer

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// typicalShrinkage is shrinkage for a gate's own samples alone.
const typicalShrinkage = 0.5

// typical is what Distance needs of a gate's own samples: how many selections they have in each layer, the means of the
// products of two of them, by sample and of all, and the factor of their covariance.
type typical struct {
	hits  [][]float64 // [layers][samples]
	means []float64
	mean  float64
	chol  *mat.Cholesky
	r     float64
	ok    bool
}

func (g *Gate) makeTypical() {
	cells := make([]int, len(g.Counts))
	for i, c := range g.Counts {
		cells[i] = len(c)
	}
	n := len(g.Samples)
	gram := gramOf(cells, g.Samples)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	t := typical{means: make([]float64, n)}
	for i := range t.means {
		t.means[i] = floats.Sum(gram[i*n:(i+1)*n]) / float64(n)
	}
	t.mean = floats.Sum(t.means) / float64(n)
	for l := range cells {
		t.hits = append(t.hits, hitsAt(l, g.Samples))
	}
	t.chol, t.r, t.ok = covariance(gram, [][]int{all}, typicalShrinkage)
	g.typical = t
}

// Distance says how unlike a set's own text a sample is: the square of Mahalanobis' distance from the mean of the own samples'
// shares of selections, by their covariance, shrunk as in the gate's discriminants. A text of a kind that nobody told the own
// text apart from may score high; but it is mostly far from the own text as well (Lee et al., arXiv 1807.03888, use the
// distance so). It is infinite where the own samples have no covariance.
//
// With Z the own samples' shares without their mean m, and z = x − m, it is zᵀ·Σ⁻¹·z = (z·z − (Z·z)ᵀ·(Z·Zᵀ + n·r·I)⁻¹·(Z·z))/r.
func (g *Gate) Distance(s Sample) float64 {
	g.once.Do(g.makeTypical)
	t := &g.typical
	if !t.ok {
		return math.Inf(1)
	}
	a := make([]float64, len(g.Samples)) // products with the own samples
	var square float64
	for l := range s {
		hits := max(1, s.hits(l))
		for _, h := range s[l] {
			share := float64(h.Count) / hits
			square += share * share
		}
		addProducts(a, make([]float64, len(g.Counts[l])), l, s, g.Samples, t.hits[l])
	}
	mean := floats.Sum(a) / float64(len(a))
	square += t.mean - 2*mean
	for i := range a {
		a[i] += t.mean - mean - t.means[i]
	}
	z, solved := mat.NewVecDense(len(a), a), mat.NewVecDense(len(a), nil)
	if err := t.chol.SolveVecTo(solved, z); err != nil {
		return math.Inf(1)
	}
	return max(0, square-mat.Dot(z, solved)) / t.r
}
