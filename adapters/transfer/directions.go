package transfer

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/gopeft/peft/adapters/exchange"
)

// direction is a rank-one part b·aᵀ of what a LoRA adds to a weight.
type direction struct {
	a []float32 // [in]
	b []float32 // [out], as long as a
}

// directions returns the singular directions of s·B·A, the strongest first. B and A themselves say less: any invertible
// matrix between them leaves the product as it is. Directions that add nothing are left out, but for the first.
func directions(l *exchange.LoRA, in, out int) ([]direction, error) {
	if l.Magnitude != nil {
		return nil, fmt.Errorf("a DoRA, whose ranks do not add up, so that none can be elsewhere than the others: %w", exchange.ErrUnsupported)
	}
	// B = U·S·Vᵀ, S·Vᵀ·A = u·s·vᵀ: then B·A = (U·u)·s·vᵀ, and nothing is as large as B·A.
	var outer, inner mat.SVD
	if !outer.Factorize(dense(l.B, out, l.Rank), mat.SVDThin) {
		return nil, errors.New("the singular values of B do not converge")
	}
	var left, right, core, rotated, whole mat.Dense
	outer.UTo(&left)
	outer.VTo(&right)
	core.Mul(right.T(), dense(l.A, l.Rank, in))
	for i, s := range outer.Values(nil) {
		for j := range in {
			core.Set(i, j, s*core.At(i, j))
		}
	}
	if !inner.Factorize(&core, mat.SVDThin) {
		return nil, errors.New("the singular values of B·A do not converge")
	}
	inner.UTo(&rotated)
	right.Reset()
	inner.VTo(&right)
	whole.Mul(&left, &rotated)
	values := inner.Values(nil)
	var all []direction
	for i, s := range values {
		if i > 0 && s <= 1e-7*values[0] {
			break
		}
		d := direction{make([]float32, in), make([]float32, out)}
		root := math.Sqrt(s * math.Abs(float64(l.Scale)))
		for j := range d.a {
			d.a[j] = float32(root * right.At(j, i))
		}
		root = math.Copysign(root, float64(l.Scale))
		for j := range d.b {
			d.b[j] = float32(root * whole.At(j, i))
		}
		all = append(all, d)
	}
	return all, nil
}

// dense is x: [rows, cols] for gonum.
func dense(x []float32, rows, cols int) *mat.Dense {
	d := make([]float64, len(x))
	for i, v := range x {
		d[i] = float64(v)
	}
	return mat.NewDense(rows, cols, d)
}
