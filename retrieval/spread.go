package retrieval

import (
	"cmp"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// near is something at a distance.
type near struct {
	at uint32
	d  float32
}

func nearest(a, b near) int { return cmp.Or(cmp.Compare(a.d, b.d), cmp.Compare(a.at, b.at)) }

// Neighbours returns the n cells nearest to each of the given ones, itself left out: [len(cells), n], the nearest first.
// Two cells are as far apart as the squared distances of their sub-keys add up to, in the head where that is least: a
// query that just misses the one selects the other there. n is at most Cells() - 1.
func (l *Layer) Neighbours(cells []uint32, n int) [][]uint32 {
	all := make([][]uint32, len(cells))
	if n = min(n, l.Cells()-1); n < 1 {
		return all
	}
	s := l.SubKeys
	ranked := [2][][]near{l.ranked(0, n+1), l.ranked(1, n+1)}
	least := map[uint32]float32{}
	var dist []near
	for i, c := range cells {
		clear(least)
		for h := range l.Heads {
			first, second := ranked[0][h*s+int(c)/s], ranked[1][h*s+int(c)%s]
			for x, p := range first {
				for y, q := range second {
					if (x+1)*(y+1) > n+1 { // as many pairs are nearer, as in the top k of sums
						break
					}
					cell := p.at*uint32(s) + q.at
					if d, ok := least[cell]; cell != c && (!ok || p.d+q.d < d) {
						least[cell] = p.d + q.d
					}
				}
			}
		}
		dist = dist[:0]
		for cell, d := range least {
			dist = append(dist, near{cell, d})
		}
		slices.SortFunc(dist, nearest)
		for _, d := range dist[:n] {
			all[i] = append(all[i], d.at)
		}
	}
	return all
}

// ranked returns the sub-keys of one half in order of their squared distance from each one, itself first: [heads, sub-keys]
// lists of the n nearest.
func (l *Layer) ranked(half, n int) [][]near {
	s, d := l.SubKeys, l.HalfDim
	all, diff := make([][]near, 0, l.Heads*s), make([]float32, d)
	for h := range l.Heads {
		keys := l.keys(h, half)
		for i := range s {
			list := make([]near, s)
			for j := range list {
				for t := range diff {
					diff[t] = keys[i*d+t] - keys[j*d+t]
				}
				list[j] = near{uint32(j), kernels.Dot(diff, diff)}
			}
			list[i].d = -1 // before any equal one
			slices.SortFunc(list, nearest)
			list[0].d = 0
			all = append(all, slices.Clone(list[:min(n, s)]))
		}
	}
	return all
}

// Spread lets every expert that lives in exactly one cell of o live in that cell's n nearest neighbours too, so that
// text which just misses its cell still reaches it. Experts that live in several cells stay as they are.
func (l *Layer) Spread(o *Occupancy, n int) (*Occupancy, error) {
	if n < 1 {
		return o, nil
	}
	home := make([]int, o.experts) // the one cell, -1 before, -2 after more than one
	for e := range home {
		home[e] = -1
	}
	posts := o.posts()
	for _, p := range posts {
		if home[p.Expert] == -1 {
			home[p.Expert] = int(p.Cell)
		} else {
			home[p.Expert] = -2
		}
	}
	var cells []uint32
	for c := range uint32(o.cells) {
		if len(o.Lookup(c)) > 0 {
			cells = append(cells, c)
		}
	}
	near := map[uint32][]uint32{}
	for i, list := range l.Neighbours(cells, n) {
		near[cells[i]] = list
	}
	for e, c := range home {
		if c < 0 {
			continue
		}
		for _, to := range near[uint32(c)] {
			posts = append(posts, Post{Cell: to, Expert: uint32(e)})
		}
	}
	return NewOccupancy(o.cells, o.experts, posts)
}
