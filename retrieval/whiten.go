package retrieval

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"

	"github.com/gopeft/peft/kernels"
)

// moments returns the mean and the reciprocal standard deviation of each column of x: [rows, dim]. A column that hardly
// varies gets 0 for the latter, and so has no say.
func moments(x []float32, rows, dim int) (mean, inv []float32) {
	sum, sq := make([]float64, dim), make([]float64, dim)
	for i := range rows {
		for j, v := range x[i*dim : (i+1)*dim] {
			sum[j] += float64(v)
			sq[j] += float64(v) * float64(v)
		}
	}
	mean, inv = make([]float32, dim), make([]float32, dim)
	for j := range dim {
		m := sum[j] / float64(rows)
		v := sq[j]/float64(rows) - m*m
		mean[j] = float32(m)
		if v > 1e-12*(1+m*m) {
			inv[j] = float32(1 / math.Sqrt(v))
		}
	}
	return mean, inv
}

// whitening returns the projection [comps, dim] of centred rows x: [rows, dim] on their first principal components, each
// scaled to unit variance. There are as many components as asked for, or fewer when x varies in fewer directions.
func whitening(p *kernels.Pool, x []float32, rows, dim, comps int) ([]float64, error) {
	cov := make([]float64, dim*dim)
	part := make([]float32, dim*dim)
	const chunk = 1024 // rows summed in f32
	for lo := 0; lo < rows; lo += chunk {
		n := min(chunk, rows-lo)
		c := x[lo*dim : (lo+n)*dim]
		kernels.MatMulTN(p, part, c, c, dim, dim, n, false)
		for i, v := range part {
			cov[i] += float64(v)
		}
	}
	sym := mat.NewSymDense(dim, nil)
	for i := range dim {
		for j := i; j < dim; j++ {
			sym.SetSym(i, j, cov[i*dim+j]/float64(rows))
		}
	}
	var eig mat.EigenSym
	if !eig.Factorize(sym, true) {
		return nil, errors.New("retrieval: the covariance of the inputs has no eigenvalue decomposition; are all values finite?")
	}
	val := eig.Values(nil) // ascending
	var vec mat.Dense
	eig.VectorsTo(&vec)
	var out []float64
	for c := dim - 1; c >= 0 && len(out) < comps*dim; c-- {
		if !(val[c] > 1e-9*val[dim-1]) {
			break
		}
		scale := 1 / math.Sqrt(val[c])
		for j := range dim {
			out = append(out, vec.At(j, c)*scale)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("retrieval: the inputs do not vary")
	}
	return out, nil
}

// rotation returns rows orthonormal directions of a space of dim ≥ rows dimensions, [rows, dim], at random.
func rotation(rows, dim int, rnd *rand.Rand) []float64 {
	r := make([]float64, rows*dim)
	for i := range rows {
		v := r[i*dim : (i+1)*dim]
		for norm := 0.0; norm < 1e-6; {
			for j := range v {
				v[j] = rnd.NormFloat64()
			}
			for range 2 { // Gram-Schmidt, the second time for the rounding of the first
				for k := range i {
					u := r[k*dim : (k+1)*dim]
					var dot float64
					for j := range v {
						dot += u[j] * v[j]
					}
					for j := range v {
						v[j] -= dot * u[j]
					}
				}
			}
			norm = 0
			for _, x := range v {
				norm += x * x
			}
			norm = math.Sqrt(norm)
			for j := range v {
				v[j] /= norm
			}
		}
	}
	return r
}
