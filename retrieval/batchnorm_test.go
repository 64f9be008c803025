package retrieval

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/kernels"
)

// TestBatchNorm wants queries of mean B and variance 1, whatever the inputs' offset and the number of threads, and after
// the same batch again and again a folded layer that routes as the training does.
func TestBatchNorm(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 1))
	const tokens, hidden = 200, 24
	x := randn(rnd, tokens*hidden)
	for i := range x {
		x[i] = 3*x[i] + 5
	}
	for _, standard := range []bool{false, true} {
		l := randomLayer(rnd, Config{Heads: 3, TopK: 4, SubKeys: 6, HalfDim: 33}, hidden, standard, false)
		var first *Routing
		for _, threads := range []int{1, 3} {
			pool := kernels.NewPool(threads)
			r := &Routing{Train: true, Norm: l.NewBatchNorm()}
			for range 2 {
				l.Route(pool, r, x, tokens)
			}
			dims := len(l.B)
			for j := range dims {
				var sum, sq float64
				for i := range tokens {
					d := float64(r.Queries[i*dims+j] - l.B[j])
					sum, sq = sum+d, sq+d*d
				}
				if math.Abs(sum/tokens) > 1e-4 || math.Abs(sq/tokens-1) > 1e-3 {
					t.Fatalf("dimension %d: mean %g and mean square %g about the shift, want 0 and 1", j, sum/tokens, sq/tokens)
				}
			}
			var folded Routing
			r.Norm.Fold(l).Route(pool, &folded, x, tokens)
			same := 0
			for i, c := range folded.Cells {
				if c == r.Cells[i] && math.Abs(float64(folded.Gates[i]-r.Gates[i])) < 1e-3 {
					same++
				}
			}
			if 100*same < 99*len(r.Cells) { // scores that nearly tie may change places
				t.Errorf("folded, %d of %d selections are the same", same, len(r.Cells))
			}
			if first == nil {
				first = r
			} else if !slices.Equal(first.Gates, r.Gates) || !slices.Equal(first.Norm.Var, r.Norm.Var) {
				t.Errorf("%d threads give other bits", threads)
			}
			pool.Close()
		}
	}
}
