package retrieval

import (
	"errors"
	"fmt"
	"math"
)

// Ordering names a way to say which cells a set is placed in first.
type Ordering string

// The orderings.
const (
	TFIDF   Ordering = "tfidf" // ByTFIDF
	Ratio   Ordering = "ratio" // ByRatio
	Count   Ordering = "count" // ByCount
	Full    Ordering = "full"  // all cells, in the order of their numbers
	Default          = TFIDF   // by measurement: docs/decisions/0009-where-experts-live.md
)

// ErrOrdering reports a name that is no ordering.
var ErrOrdering = errors.New("unknown occupancy")

// Check reports a name that is no ordering. The error wraps ErrOrdering.
func (o Ordering) Check() error {
	switch o {
	case TFIDF, Ratio, Count, Full:
		return nil
	}
	return fmt.Errorf("retrieval: occupancy %q, want %s, %s, %s or %s: %w", o, TFIDF, Ratio, Count, Full, ErrOrdering)
}

// Order returns all cells, those first that a set with these counts of its own text is placed in first, given the counts
// that background text and earlier sets have there.
func (o Ordering) Order(counts []uint32, others ...[]uint32) ([]uint32, error) {
	switch o {
	case TFIDF:
		return ByTFIDF(counts, others...)
	case Ratio:
		return ByRatio(counts, others...)
	case Count:
		return ByCount(counts), nil
	case Full:
		return byWeight(make([]float64, len(counts))), nil
	}
	return nil, o.Check()
}

// ByRatio returns all cells, those first that are most surely the set's own: in order of the falling log-likelihood ratio
// (Dunning 1993, "Accurate Methods for the Statistics of Surprise and Coincidence") between one rate of selection for the
// set's own text and another text's and a rate for each, negative where the other text has the higher rate. Of several
// others the one counts that the cell is least the set's own against. Beside [ByTFIDF] it knows how much was counted: what
// a few selections say is worth less.
func ByRatio(counts []uint32, others ...[]uint32) ([]uint32, error) {
	if len(others) == 0 {
		return ByCount(counts), nil
	}
	n := total(counts)
	w := make([]float64, len(counts))
	for j, o := range others {
		if len(o) != len(counts) {
			return nil, fmt.Errorf("retrieval: counts of %d cells beside counts of %d", len(o), len(counts))
		}
		m := total(o)
		for i, k := range counts {
			g := ratio(float64(k), n, float64(o[i]), m)
			if j == 0 || g < w[i] {
				w[i] = g
			}
		}
	}
	return byWeight(w), nil
}

// ratio returns the signed log-likelihood ratio of k in n selections against l in m.
func ratio(k, n, l, m float64) float64 {
	if n == 0 || m == 0 {
		return 0
	}
	p, q, both := k/n, l/m, (k+l)/(n+m)
	likelihood := func(rate, hits, of float64) float64 {
		var sum float64
		if hits > 0 {
			sum += hits * math.Log(rate)
		}
		if of > hits {
			sum += (of - hits) * math.Log1p(-rate)
		}
		return sum
	}
	g := 2 * (likelihood(p, k, n) + likelihood(q, l, m) - likelihood(both, k, n) - likelihood(both, l, m))
	if p < q {
		return -g
	}
	return g
}

func total(counts []uint32) (sum float64) {
	for _, c := range counts {
		sum += float64(c)
	}
	return sum
}
