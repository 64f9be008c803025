package retrieval

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// MaxPerCell is the most experts of one set that Place puts in a cell.
const MaxPerCell = 4

// ByCount returns all cells in order of falling count, ties in order of their number.
func ByCount(counts []uint32) []uint32 {
	w := make([]float64, len(counts))
	for i, c := range counts {
		w[i] = float64(c)
	}
	return byWeight(w)
}

// ByTFIDF returns all cells, those first that are most the set's own: in order of falling p·log(p/q), where p is the cell's
// share of the hits of the set's own data and q the largest share any of the others has there (background text, sets
// placed before). Cells without a hit of the set's own data come last, those the others use least first.
func ByTFIDF(counts []uint32, others ...[]uint32) ([]uint32, error) {
	n := len(counts)
	q := make([]float64, n)
	for _, o := range others {
		if len(o) != n {
			return nil, fmt.Errorf("retrieval: counts of %d cells beside counts of %d", len(o), n)
		}
		for i, s := range shares(o) {
			q[i] = max(q[i], s)
		}
	}
	p := shares(counts)
	w := make([]float64, n)
	floor := 0.01 / float64(n) // a cell that others never hit is not infinitely rare
	worst := 0.0
	for i := range w {
		if counts[i] > 0 {
			w[i] = p[i] * math.Log((p[i]+floor)/(q[i]+floor))
			worst = min(worst, w[i])
		}
	}
	for i := range w {
		if counts[i] == 0 {
			w[i] = worst - 1 - q[i]
		}
	}
	return byWeight(w), nil
}

// shares returns counts divided by their sum; zeros when the sum is 0.
func shares(counts []uint32) []float64 {
	var sum float64
	for _, c := range counts {
		sum += float64(c)
	}
	s := make([]float64, len(counts))
	if sum > 0 {
		for i, c := range counts {
			s[i] = float64(c) / sum
		}
	}
	return s
}

func byWeight(w []float64) []uint32 {
	order := make([]uint32, len(w))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		if c := cmp.Compare(w[b], w[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	return order
}

// Place puts that many experts into the cells of order, all cells of a layer with the best first: one a cell, and when
// there are more experts than cells, from the best cell again, up to MaxPerCell in one. With an expert for every cell the
// result is the full grid, expert e in cell e.
func Place(order []uint32, experts int) (*Occupancy, error) {
	cells := len(order)
	if experts < 1 {
		return nil, fmt.Errorf("retrieval: place %d experts, want at least 1", experts)
	}
	if experts > MaxPerCell*cells {
		return nil, fmt.Errorf("retrieval: %d experts do not fit in %d cells with at most %d in each; make a router with more sub-keys (at least %d)",
			experts, cells, MaxPerCell, int(math.Ceil(math.Sqrt(float64(experts)))))
	}
	if experts == cells {
		return FullGrid(cells), nil
	}
	posts := make([]Post, experts)
	for e := range posts {
		posts[e] = Post{Cell: order[e%cells], Expert: uint32(e)}
	}
	return NewOccupancy(cells, experts, posts)
}
