package retrieval

import (
	"fmt"
	"math"
	"slices"
)

// LogOdds returns for each cell how much one selection of it speaks for a set's own text and against another one, in nats:
// log p/q, where p and q are the cell's shares of the hits in either, drawn towards its share in background text by as many
// imagined hits as there are cells. With other nil the other text is the background itself. A cell that nobody has seen says
// next to nothing.
func LogOdds(counts, other, background []uint32) ([]float32, error) {
	cells := len(counts)
	if len(background) != cells || other != nil && len(other) != cells {
		return nil, fmt.Errorf("retrieval: counts of %d cells beside counts of %d and background counts of %d", cells, len(other), len(background))
	}
	m := float64(cells)
	own, all, theirs := total(counts), total(background), total(other)
	odds := make([]float32, cells)
	for i, c := range counts {
		prior := (float64(background[i]) + 0.5) / (all + 0.5*m)
		q := prior
		if other != nil {
			q = (float64(other[i]) + m*prior) / (theirs + m)
		}
		odds[i] = float32(math.Log((float64(c) + m*prior) / (own + m) / q))
	}
	return odds, nil
}

func total(counts []uint32) (sum float64) {
	for _, c := range counts {
		sum += float64(c)
	}
	return sum
}

// Conformal returns the score that at most a share alpha of texts like the given ones exceed: the ⌈(n+1)(1−alpha)⌉-th
// smallest (split conformal prediction: Vovk et al., Algorithmic Learning in a Random World, 2005). With fewer than
// 1/alpha − 1 scores nothing can be promised, and the largest may be one stray text: then the quantile of a normal
// distribution with their mean and variance comes back, or the largest where that is less, and exact is false.
func Conformal(scores []float64, alpha float64) (q float64, exact bool) {
	if len(scores) == 0 {
		return math.Inf(-1), false
	}
	s := slices.Sorted(slices.Values(scores))
	i := int(math.Ceil(float64(len(s)+1) * (1 - alpha)))
	if i <= len(s) {
		return s[max(i, 1)-1], true
	}
	var mean, variance float64
	for _, v := range s {
		mean += v / float64(len(s))
	}
	for _, v := range s {
		variance += (v - mean) * (v - mean) / float64(max(1, len(s)-1))
	}
	normal := mean + math.Sqrt(2*variance)*math.Erfinv(1-2*alpha)
	return min(normal, s[len(s)-1]), false
}
