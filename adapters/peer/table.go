package peer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Table is a set's experts at one site of a block.
type Table struct {
	Block int
	Site  llama.Site
	Kind  adapters.Kind
	Dims  adapters.Dims // of an expert; see Widths
	// Occupancy says in which cells the experts stand. Without one they are always on: each contributes, with gate 1, to every
	// token.
	Occupancy *retrieval.Occupancy
	Rows      Rows
	// Scale multiplies what the table contributes; 0 means 1. See Share.
	Scale float32
	// Counts, [cells], is how often the set's own data selected each cell; nil when not known. Other sets are placed, and
	// gates decide, by it.
	Counts []uint32
	// Hits, [experts], is how often the set's own text selected each expert when it was last trained; nil when not known.
	Hits []uint32
	// Fresh is how many experts, those with the highest numbers, were never trained.
	Fresh int
	// Cap bounds, for each token, the norm of what the set adds here, as a share of the norm of the residual stream it is
	// added to; 0 for no bound. It is only for tables beside the feed-forward layer. See Strength.
	Cap float32
}

// AlwaysOn reports whether the experts work on every token.
func (t *Table) AlwaysOn() bool { return t.Occupancy == nil }

// Experts returns how many there are.
func (t *Table) Experts() int { return t.Rows.Len() }

func (t *Table) scale() float32 {
	if t.Scale == 0 {
		return 1
	}
	return t.Scale
}

// Set is experts that were trained together, at sites of the blocks of one base. Its tables stand in order of blocks, and
// within a block of sites.
type Set struct {
	Name     string
	Revision int
	Hidden   int     // width of the base
	Scale    float32 // of the whole set's contribution; 1 unless someone chose otherwise
	Router   string  // SHA-256 of the router its cells belong to
	Tables   []*Table
}

// Placement says where a new set's experts live in one layer, and why.
type Placement struct {
	Occupancy *retrieval.Occupancy
	Counts    []uint32
}

// NewSet returns a set of new experts beside the feed-forward layers, placed in each of the router's layers as the
// placements say, in their order; a layer whose placement is the zero value gets none. The same seed gives the same rows,
// whatever the number of threads.
func NewSet(p *kernels.Pool, name string, kind adapters.Kind, r *retrieval.Router, places []Placement, seed uint64, f Format) (*Set, error) {
	if len(places) != len(r.Layers) {
		return nil, fmt.Errorf("peer: set %s: placements for %d layers, its router has %d", name, len(places), len(r.Layers))
	}
	var spots []Spot
	for i, l := range r.Layers {
		if places[i].Occupancy != nil {
			spots = append(spots, Spot{Block: l.Block, Kind: kind, Dims: adapters.Dims{In: r.Hidden, Out: r.Hidden}, Placement: places[i]})
		}
	}
	return NewSetAt(p, name, r, spots, seed, f)
}

// Spot says where one table of a new set is, and of what kind. Without an occupancy it is always on, with one expert.
type Spot struct {
	Block int
	Site  llama.Site
	Kind  adapters.Kind
	Dims  adapters.Dims // of an expert; see Widths
	Placement
}

// Widths returns the dimensions of experts of a kind at a site.
func Widths(c *llama.Config, s llama.Site, k adapters.Kind) adapters.Dims {
	return k.Port().Dims(c.Dims(s))
}

// NewSetAt returns a set of new experts at the given spots, in order of block and site. The same seed gives the same rows,
// whatever the number of threads.
func NewSetAt(p *kernels.Pool, name string, r *retrieval.Router, spots []Spot, seed uint64, f Format) (*Set, error) {
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	s := &Set{Name: name, Hidden: r.Hidden, Scale: 1, Router: sum}
	for _, at := range spots {
		n := 1
		t := &Table{Block: at.Block, Site: at.Site, Kind: at.Kind, Dims: at.Dims, Occupancy: at.Occupancy, Counts: at.Counts}
		if !t.AlwaysOn() {
			n = t.Occupancy.Experts()
			t.Scale = Share(r, at.Block, at.Site)
		}
		t.Rows, t.Fresh = NewRows(n, at.Kind.Width(at.Dims), f), n
		t.init(p, 0, seed)
		s.Tables = append(s.Tables, t)
	}
	return s, s.Check(r)
}

// init writes the first values of the experts from the given one on.
func (t *Table) init(p *kernels.Pool, first int, seed uint64) {
	p.Run(t.Rows.Len()-first, 256, func(lo, hi int) {
		buf := make([]float32, t.Rows.Width)
		for e := first + lo; e < first+hi; e++ {
			t.Kind.Init(buf, t.Dims, rand.New(rand.NewPCG(seed, uint64(t.Site)<<56|uint64(t.Block)<<32|uint64(e))))
			t.Rows.Set(e, buf)
		}
	})
}

// Share returns the scale of a table in cells at a site: at a linear layer one over the number of heads, because each
// head's gates sum to 1, so that an expert that stands in every cell is as strong as one that is always on. Beside the
// feed-forward layer, where experts are trained in their cells, heads add up as in the paper, and it is 0 for 1.
func Share(r *retrieval.Router, block int, s llama.Site) float32 {
	l := RoutedBy(r, block, s)
	if s == llama.Beside || l == nil {
		return 0
	}
	return 1 / float32(l.Heads)
}

// RoutedBy returns the layer whose selection gates experts in cells at a site, nil where there is none: that of the same
// block beside its feed-forward layer and at its products, and that of the nearest block below at those of attention.
func RoutedBy(r *retrieval.Router, block int, s llama.Site) *retrieval.Layer {
	switch s {
	case llama.Query, llama.Key, llama.Value, llama.Out:
		var below *retrieval.Layer
		for _, l := range r.Layers {
			if l.Block < block {
				below = l
			}
		}
		return below
	}
	return r.Layer(block)
}

// Table returns the set's table beside the feed-forward layer of that block of the base, or nil.
func (s *Set) Table(block int) *Table { return s.At(block, llama.Beside) }

// At returns the set's table at a site, or nil.
func (s *Set) At(block int, site llama.Site) *Table {
	for _, t := range s.Tables {
		if t.Block == block && t.Site == site {
			return t
		}
	}
	return nil
}

// Kind returns the name of the kind of the set's experts; of several, their names in the order of the tables, with a + between.
func (s *Set) Kind() string {
	var names []string
	for _, t := range s.Tables {
		if n := t.Kind.Name(); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, "+")
}

// AlwaysOn reports whether none of the set's experts stand in cells.
func (s *Set) AlwaysOn() bool {
	for _, t := range s.Tables {
		if !t.AlwaysOn() {
			return false
		}
	}
	return true
}

// Keeps returns the format that the set's rows are stored in: sets in cells are large, and bf16 costs them nothing; those
// that are always on are small, and often other people's.
func (s *Set) Keeps() Format {
	if s.AlwaysOn() {
		return F32
	}
	return BF16
}

// Experts returns the number of experts over all tables.
func (s *Set) Experts() int {
	n := 0
	for _, t := range s.Tables {
		n += t.Experts()
	}
	return n
}

// Parameters returns the number of parameters over all tables.
func (s *Set) Parameters() int {
	n := 0
	for _, t := range s.Tables {
		n += t.Experts() * t.Rows.Width
	}
	return n
}

// Convert changes the format of all rows.
func (s *Set) Convert(p *kernels.Pool, f Format) {
	for _, t := range s.Tables {
		t.Rows = t.Rows.Convert(p, f)
	}
}
