package retrieval

import (
	"fmt"
	"math"
)

// LogOdds returns for each cell how much one selection of it speaks for a set's own data and against background text, in
// nats: log p/q, where q is the cell's share of the background's hits and p that of the set's, drawn towards q by as many
// imagined hits as there are cells. What neither has seen says nothing.
func LogOdds(counts, background []uint32) ([]float32, error) {
	cells := len(counts)
	if len(background) != cells {
		return nil, fmt.Errorf("retrieval: counts of %d cells beside background counts of %d", cells, len(background))
	}
	var own, all float64
	for i, c := range counts {
		own += float64(c)
		all += float64(background[i])
	}
	m := float64(cells)
	odds := make([]float32, cells)
	for i, c := range counts {
		q := (float64(background[i]) + 0.5) / (all + 0.5*m)
		odds[i] = float32(math.Log((float64(c)/q + m) / (own + m)))
	}
	return odds, nil
}
