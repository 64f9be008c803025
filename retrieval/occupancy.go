package retrieval

import (
	"errors"
	"fmt"
	"slices"
)

// MaxExperts is the most experts a set can have in one layer.
const MaxExperts = 1 << 28

// Occupancy says which of a set's experts, numbered from 0, live in which cells of one layer: a posting list a cell, as in
// an inverted multi-index. A cell may hold several experts and an expert may live in several cells.
type Occupancy struct {
	cells, experts int
	start          []uint32 // [cells+1] where each cell's list begins; nil when expert e lives in cell e, for all cells
	list           []uint32 // experts, ascending within a cell
}

// FullGrid returns the occupancy of one expert in each cell: expert e in cell e.
func FullGrid(cells int) *Occupancy {
	o := &Occupancy{cells: cells, experts: cells, list: make([]uint32, cells)}
	for i := range o.list {
		o.list[i] = uint32(i)
	}
	return o
}

// Post says that an expert lives in a cell.
type Post struct{ Cell, Expert uint32 }

// NewOccupancy returns the occupancy of that many experts living where posts say, in any order.
func NewOccupancy(cells, experts int, posts []Post) (*Occupancy, error) {
	if cells < 1 || cells > MaxSubKeys*MaxSubKeys || experts < 0 || experts > MaxExperts {
		return nil, fmt.Errorf("retrieval: %d experts in %d cells, want at most %d in at most %d", experts, cells, MaxExperts, MaxSubKeys*MaxSubKeys)
	}
	o := &Occupancy{cells: cells, experts: experts, start: make([]uint32, cells+1), list: make([]uint32, len(posts))}
	for _, p := range posts {
		if int(p.Cell) >= cells || int(p.Expert) >= experts {
			return nil, fmt.Errorf("retrieval: expert %d in cell %d, of %d experts and %d cells", p.Expert, p.Cell, experts, cells)
		}
		o.start[p.Cell+1]++
	}
	for c := range cells {
		o.start[c+1] += o.start[c]
	}
	next := slices.Clone(o.start[:cells])
	for _, p := range posts {
		o.list[next[p.Cell]] = p.Expert
		next[p.Cell]++
	}
	identity := experts == cells && len(posts) == cells
	for c := range cells {
		l := o.list[o.start[c]:o.start[c+1]]
		slices.Sort(l)
		for i := 1; i < len(l); i++ {
			if l[i] == l[i-1] {
				return nil, fmt.Errorf("retrieval: expert %d twice in cell %d", l[i], c)
			}
		}
		identity = identity && len(l) == 1 && int(l[0]) == c
	}
	if identity {
		o.start = nil
	}
	return o, nil
}

// Cells returns the number of cells of the layer.
func (o *Occupancy) Cells() int { return o.cells }

// Experts returns the number of experts.
func (o *Occupancy) Experts() int { return o.experts }

// Occupied returns the number of cells that hold an expert.
func (o *Occupancy) Occupied() int {
	if o.start == nil {
		return o.cells
	}
	n := 0
	for c := range o.cells {
		if o.start[c] < o.start[c+1] {
			n++
		}
	}
	return n
}

// Full reports whether expert e lives in cell e, for all cells, as in [FullGrid].
func (o *Occupancy) Full() bool { return o.start == nil }

// Lookup returns the experts of a cell, ascending. The slice is the index's own.
func (o *Occupancy) Lookup(cell uint32) []uint32 {
	if o.start == nil {
		return o.list[cell : cell+1]
	}
	return o.list[o.start[cell]:o.start[cell+1]]
}

const (
	formatFull  = 1
	formatLists = 2
)

// Marshal returns the stored form.
func (o *Occupancy) Marshal() []byte {
	var e encoder
	if o.start == nil {
		e.uint(formatFull)
		e.uint(uint64(o.cells))
		return e.b
	}
	e.uint(formatLists)
	e.uint(uint64(o.cells))
	e.uint(uint64(o.experts))
	e.uint(uint64(o.Occupied()))
	last := -1
	for c := range o.cells {
		l := o.Lookup(uint32(c))
		if len(l) == 0 {
			continue
		}
		e.uint(uint64(c - last - 1))
		last = c
		e.uint(uint64(len(l)))
		prev := -1
		for _, x := range l {
			e.uint(uint64(int(x) - prev - 1))
			prev = int(x)
		}
	}
	return e.b
}

// UnmarshalOccupancy reads what Marshal wrote, for a layer of that many cells and a set of that many experts. Errors wrap
// ErrCorrupt.
func UnmarshalOccupancy(data []byte, cells, experts int) (*Occupancy, error) {
	d := decoder{b: data}
	format, c := d.uint(), d.int(MaxSubKeys*MaxSubKeys)
	e := c
	if format == formatLists {
		e = d.int(MaxExperts)
	}
	switch {
	case d.err != nil:
	case format != formatFull && format != formatLists:
		d.fail("unknown format %d", format)
	case c != cells || e != experts:
		d.fail("%d experts in %d cells, want %d in %d", e, c, experts, cells)
	}
	if d.err != nil {
		return nil, fmt.Errorf("retrieval: occupancy: %w", d.err)
	}
	if format == formatFull {
		if err := d.end(); err != nil {
			return nil, fmt.Errorf("retrieval: occupancy: %w", err)
		}
		return FullGrid(cells), nil
	}
	posts := make([]Post, 0, min(len(d.b), 4*experts))
	last := -1
	for range d.int(cells) {
		last += 1 + d.int(cells)
		prev := -1
		for range d.int(len(d.b)) {
			prev += 1 + d.int(experts)
			if last >= cells || prev >= experts {
				d.fail("expert %d in cell %d, of %d experts and %d cells", prev, last, experts, cells)
			}
			if d.err != nil {
				break
			}
			posts = append(posts, Post{Cell: uint32(last), Expert: uint32(prev)})
		}
		if d.err != nil {
			break
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("retrieval: occupancy: %w", err)
	}
	o, err := NewOccupancy(cells, experts, posts)
	if err != nil {
		return nil, errors.Join(err, ErrCorrupt)
	}
	return o, nil
}
