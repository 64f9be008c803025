package retrieval

import (
	"math"
	"slices"
)

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
