package retrieval

import "fmt"

// posts returns where every expert lives, cell by cell.
func (o *Occupancy) posts() []Post {
	posts := make([]Post, 0, len(o.list))
	for c := range uint32(o.cells) {
		for _, e := range o.Lookup(c) {
			posts = append(posts, Post{Cell: c, Expert: e})
		}
	}
	return posts
}

// Grow returns o with so many more experts, numbered after those there are, which stay where they live: first in the cells
// that hold none, in the order given, one a cell, then in order in those with one, and so on up to MaxPerCell.
func (o *Occupancy) Grow(order []uint32, more int) (*Occupancy, error) {
	if len(order) != o.cells {
		return nil, fmt.Errorf("retrieval: grow: an order of %d cells for %d", len(order), o.cells)
	}
	room := 0
	for c := range uint32(o.cells) {
		room += max(0, MaxPerCell-len(o.Lookup(c)))
	}
	if more < 1 || more > room {
		return nil, fmt.Errorf("retrieval: grow by %d experts, want 1 to %d: with at most %d in each, %d cells have room for no more beside %d",
			more, room, MaxPerCell, o.cells, o.experts)
	}
	posts, e := o.posts(), o.experts
	for held := 0; more > 0; held++ { // each cell gets one when its turn comes at the number it holds
		for _, c := range order {
			if more > 0 && len(o.Lookup(c)) <= held {
				posts = append(posts, Post{Cell: c, Expert: uint32(e)})
				e, more = e+1, more-1
			}
		}
	}
	return NewOccupancy(o.cells, e, posts)
}

// Keep returns o with only the given experts, ascending, renumbered from 0 in that order. Cells left without one are empty.
func (o *Occupancy) Keep(experts []uint32) (*Occupancy, error) {
	number := make([]int32, o.experts)
	for i := range number {
		number[i] = -1
	}
	for i, e := range experts {
		if int(e) >= o.experts || (i > 0 && e <= experts[i-1]) {
			return nil, fmt.Errorf("retrieval: keep experts %v of %d, want them ascending", experts, o.experts)
		}
		number[e] = int32(i)
	}
	var posts []Post
	for _, p := range o.posts() {
		if n := number[p.Expert]; n >= 0 {
			posts = append(posts, Post{Cell: p.Cell, Expert: uint32(n)})
		}
	}
	return NewOccupancy(o.cells, len(experts), posts)
}

// Hits returns how often each expert was selected: [experts], from how often each cell was.
func (o *Occupancy) Hits(counts []uint32) ([]uint32, error) {
	if len(counts) != o.cells {
		return nil, fmt.Errorf("retrieval: hits from counts of %d cells, want %d", len(counts), o.cells)
	}
	hits := make([]uint32, o.experts)
	for c, n := range counts {
		for _, e := range o.Lookup(uint32(c)) {
			hits[e] += min(n, ^uint32(0)-hits[e])
		}
	}
	return hits, nil
}
