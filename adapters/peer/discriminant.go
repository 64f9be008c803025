package peer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// ErrFewSamples reports too few samples of a text to tell others apart from it.
var ErrFewSamples = errors.New("too few samples")

// shrinkage is how much of a covariance is that of features which all vary alike and by themselves: this many times the
// samples' mean variance. There are many more cells than samples.
const shrinkage = 1

// discriminants returns, for each class but the first, what every selection of a cell says for a text of the first class
// and against one of that class: odds[class][layer][cell]. The mean over a text's selections is Fisher's linear
// discriminant between the two, in nats: the log-likelihood ratio of two normal distributions of a text's shares of
// selections, with one covariance, that of all samples within their classes, shrunk towards a multiple of the identity
// (Friedman 1989, Regularized Discriminant Analysis). cells are those of each layer. A class of a single sample counts by
// its mean alone.
//
// With X: [samples, cells of all layers] the shares and Z = H·X those without their class's mean, the weights are
// w = Σ⁻¹·v, Σ = ZᵀZ/n + r·I, and with v = Xᵀ·u they are combinations of the samples:
// w = Xᵀ·(u − H·(Z·Zᵀ + n·r·I)⁻¹·H·X·Xᵀ·u)/r. So nothing larger than [samples, samples] is solved.
func discriminants(cells []int, classes [][]Sample) ([][][]float32, error) {
	var x []Sample
	var of [][]int // the samples of each class
	for c, samples := range classes {
		if len(samples) == 0 {
			return nil, fmt.Errorf("peer: gate: no samples of class %d of %d: %w", c, len(classes), ErrFewSamples)
		}
		of = append(of, nil)
		for _, s := range samples {
			if len(s) != len(cells) {
				return nil, fmt.Errorf("peer: gate: a sample of %d layers, the router has %d", len(s), len(cells))
			}
			of[c] = append(of[c], len(x))
			x = append(x, s)
		}
	}
	n := len(x)
	gram := gramOf(cells, x)
	chol, r, ok := covariance(gram, of, shrinkage)
	if !ok {
		return nil, fmt.Errorf("peer: gate: the covariance of %d samples is no covariance: %w", n, ErrFewSamples)
	}
	column := make([]float64, n)
	var odds [][][]float32
	for _, other := range of[1:] {
		u := make([]float64, n)
		for _, i := range of[0] {
			u[i] += 1 / float64(len(of[0]))
		}
		for _, i := range other {
			u[i] -= 1 / float64(len(other))
		}
		for i := range n {
			column[i] = floats.Dot(gram[i*n:(i+1)*n], u)
		}
		centre(column, of)
		solved := mat.NewVecDense(n, nil)
		if err := chol.SolveVecTo(solved, mat.NewVecDense(n, column)); err != nil {
			return nil, fmt.Errorf("peer: gate: %w", err)
		}
		a := solved.RawVector().Data
		centre(a, of)
		for i := range u {
			u[i] = (u[i] - a[i]) / r
		}
		var bias float64 // w times the middle between the means
		for i, c := range u {
			row := gram[i*n : (i+1)*n]
			bias += c * (meanAt(row, of[0]) + meanAt(row, other)) / 2
		}
		odds = append(odds, weights(cells, x, u, bias))
	}
	return odds, nil
}

// covariance factors Z·Zᵀ + n·r·I, where gram is X·Xᵀ, Z is X with each class's mean taken from its samples, and r is so many
// times the mean variance: what is needed of Σ = ZᵀZ/n + r·I, see discriminants. It is not ok when gram has no such factor.
func covariance(gram []float64, of [][]int, shrink float64) (chol *mat.Cholesky, r float64, ok bool) {
	n := int(math.Sqrt(float64(len(gram))))
	within := slices.Clone(gram)
	for range 2 { // the matrix is symmetric: rows, turned, then rows again
		for i := range n {
			centre(within[i*n:(i+1)*n], of)
		}
		for i := range n {
			for j := range i {
				within[i*n+j], within[j*n+i] = within[j*n+i], within[i*n+j]
			}
		}
	}
	var trace float64
	for i := range n {
		trace += within[i*n+i]
	}
	r = max(shrink*trace/float64(n)/float64(n), 1e-9) // alike samples have no variance
	for i := range n {
		within[i*n+i] += float64(n) * r
	}
	chol = &mat.Cholesky{}
	return chol, r, chol.Factorize(mat.NewSymDense(n, within))
}

// centre takes each class's mean from its samples' values.
func centre(v []float64, of [][]int) {
	for _, samples := range of {
		m := meanAt(v, samples)
		for _, i := range samples {
			v[i] -= m
		}
	}
}

// weights returns len(cells)·Σ u·share − bias for every cell.
func weights(cells []int, x []Sample, u []float64, bias float64) [][]float32 {
	odds := make([][]float32, len(cells))
	for l, n := range cells {
		w := make([]float64, n)
		for i, s := range x {
			scale := u[i] * float64(len(cells)) / max(1, s.hits(l))
			for _, h := range s[l] {
				w[h.Cell] += scale * float64(h.Count)
			}
		}
		odds[l] = make([]float32, n)
		for c := range w {
			odds[l][c] = float32(w[c] - bias)
		}
	}
	return odds
}

// gramOf returns the inner products of samples' shares of selections, over all layers: [samples, samples].
func gramOf(cells []int, x []Sample) []float64 {
	n := len(x)
	gram := make([]float64, n*n)
	for l := range cells {
		hits, share := hitsAt(l, x), make([]float64, cells[l])
		for i, s := range x {
			addProducts(gram[i*n:], share, l, s, x[:i+1], hits)
		}
	}
	for i := range n {
		for j := range i {
			gram[j*n+i] = gram[i*n+j]
		}
	}
	return gram
}

// hitsAt returns how many selections each sample has in a layer, at least 1.
func hitsAt(l int, x []Sample) []float64 {
	hits := make([]float64, len(x))
	for i, s := range x {
		hits[i] = max(1, s.hits(l))
	}
	return hits
}

// addProducts adds to out the products of a sample's shares of a layer's selections with those of others, whose hits are given.
// share has an element for each cell; all are 0, before and after.
func addProducts(out, share []float64, l int, s Sample, others []Sample, hits []float64) {
	all := max(1, s.hits(l))
	for _, h := range s[l] {
		share[h.Cell] = float64(h.Count) / all
	}
	for j, other := range others {
		var sum float64
		for _, h := range other[l] {
			sum += share[h.Cell] * float64(h.Count)
		}
		out[j] += sum / hits[j]
	}
	for _, h := range s[l] {
		share[h.Cell] = 0
	}
}

// meanAt returns the mean of v's elements at those places.
func meanAt(v []float64, places []int) (sum float64) {
	for _, i := range places {
		sum += v[i]
	}
	return sum / float64(len(places))
}
