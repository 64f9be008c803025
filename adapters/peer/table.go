package peer

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Format is how rows are kept.
type Format uint8

// The formats.
const (
	BF16 Format = iota // for use: half the memory, and no loss that could be measured
	F32                // for training
)

// String returns the format's name in stored sets.
func (f Format) String() string {
	if f == F32 {
		return "f32"
	}
	return "bf16"
}

func (f Format) bytes() int {
	if f == F32 {
		return 4
	}
	return 2
}

// Rows is a table of parameters, [experts, width], in one of the formats.
type Rows struct {
	Format Format
	Width  int
	F32    []float32 // when Format is F32
	BF16   []uint16  // when Format is BF16
}

// NewRows returns zeros.
func NewRows(experts, width int, f Format) Rows {
	r := Rows{Format: f, Width: width}
	if f == F32 {
		r.F32 = make([]float32, experts*width)
	} else {
		r.BF16 = make([]uint16, experts*width)
		kernels.LargePages(r.BF16)
	}
	return r
}

// Len returns the number of rows.
func (r Rows) Len() int { return (len(r.F32) + len(r.BF16)) / r.Width }

// Row returns row i in f32: the row itself, or buf: [width] filled with it.
func (r Rows) Row(i int, buf []float32) []float32 {
	if r.Format == F32 {
		return r.F32[i*r.Width : (i+1)*r.Width]
	}
	kernels.FromBF16(buf[:r.Width], r.BF16[i*r.Width:(i+1)*r.Width])
	return buf[:r.Width]
}

// Set writes row i.
func (r Rows) Set(i int, row []float32) {
	if r.Format == F32 {
		copy(r.F32[i*r.Width:(i+1)*r.Width], row)
	} else {
		kernels.ToBF16(r.BF16[i*r.Width:(i+1)*r.Width], row)
	}
}

// Convert returns the rows in that format: r itself when it has it.
func (r Rows) Convert(p *kernels.Pool, f Format) Rows {
	if r.Format == f {
		return r
	}
	to := NewRows(r.Len(), r.Width, f)
	p.Run(r.Len(), 256, func(lo, hi int) {
		buf := make([]float32, r.Width)
		for i := lo; i < hi; i++ {
			to.Set(i, r.Row(i, buf))
		}
	})
	return to
}

// Table is a set's experts in one layer.
type Table struct {
	Block     int
	Occupancy *retrieval.Occupancy
	Rows      Rows
	// Counts, [cells], is how often the set's own data selected each cell; nil when not known. Other sets are placed, and
	// gates decide, by it.
	Counts []uint32
	// Hits, [experts], is how often the set's own text selected each expert when it was last trained; nil when not known.
	Hits []uint32
	// Fresh is how many experts, those with the highest numbers, were never trained.
	Fresh int
	// Cap bounds, for each token, the norm of what the set adds here, as a share of the norm of the residual stream it is
	// added to; 0 for no bound. See Strength.
	Cap float32
}

// Set is experts of one kind in the layers of one router.
type Set struct {
	Name     string
	Revision int
	Kind     adapters.Kind
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

// NewSet returns a set of new experts, placed in each of the router's layers as the placements say, in their order; a
// layer whose placement is the zero value gets none. The same seed gives the same rows, whatever the number of threads.
func NewSet(p *kernels.Pool, name string, kind adapters.Kind, r *retrieval.Router, places []Placement, seed uint64, f Format) (*Set, error) {
	if len(places) != len(r.Layers) {
		return nil, fmt.Errorf("peer: set %s: placements for %d layers, its router has %d", name, len(places), len(r.Layers))
	}
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	s := &Set{Name: name, Kind: kind, Hidden: r.Hidden, Scale: 1, Router: sum}
	width := kind.Width(r.Hidden)
	for i, l := range r.Layers {
		o := places[i].Occupancy
		if o == nil {
			continue
		}
		t := &Table{Block: l.Block, Occupancy: o, Counts: places[i].Counts, Rows: NewRows(o.Experts(), width, f), Fresh: o.Experts()}
		p.Run(o.Experts(), 256, func(lo, hi int) {
			buf := make([]float32, width)
			for e := lo; e < hi; e++ {
				kind.Init(buf, r.Hidden, rand.New(rand.NewPCG(seed, uint64(l.Block)<<32|uint64(e))))
				t.Rows.Set(e, buf)
			}
		})
		s.Tables = append(s.Tables, t)
	}
	return s, s.Check(r)
}

// Table returns the set's table beside that block of the base, or nil.
func (s *Set) Table(block int) *Table {
	for _, t := range s.Tables {
		if t.Block == block {
			return t
		}
	}
	return nil
}

// Experts returns the number of experts over all layers.
func (s *Set) Experts() int {
	n := 0
	for _, t := range s.Tables {
		n += t.Occupancy.Experts()
	}
	return n
}

// Parameters returns the number of parameters over all layers.
func (s *Set) Parameters() int { return s.Experts() * s.Kind.Width(s.Hidden) }

// Convert changes the format of all rows.
func (s *Set) Convert(p *kernels.Pool, f Format) {
	for _, t := range s.Tables {
		t.Rows = t.Rows.Convert(p, f)
	}
}

// Check reports the first thing about s that does not fit its router. The error wraps ErrOtherRouter when s was made for
// another one.
func (s *Set) Check(r *retrieval.Router) error {
	sum, err := r.SHA256()
	if err != nil {
		return err
	}
	if s.Router != sum {
		return fmt.Errorf("peer: set %s was made for router %.12s, this base's is %.12s: %w", s.Name, s.Router, sum, ErrOtherRouter)
	}
	if s.Kind == nil || s.Hidden != r.Hidden {
		return fmt.Errorf("peer: set %s has width %d, its router %d", s.Name, s.Hidden, r.Hidden)
	}
	if len(s.Tables) == 0 {
		return fmt.Errorf("peer: set %s has no experts", s.Name)
	}
	last := -1
	for _, t := range s.Tables {
		l := r.Layer(t.Block)
		if l == nil || t.Block <= last {
			return fmt.Errorf("peer: set %s: table for block %d, after block %d, of a router with blocks %v", s.Name, t.Block, last, r.Blocks())
		}
		last = t.Block
		if c := t.Occupancy.Cells(); c != l.Cells() {
			return fmt.Errorf("peer: set %s: block %d: %d cells, the router has %d", s.Name, t.Block, c, l.Cells())
		}
		if w := s.Kind.Width(s.Hidden); t.Rows.Width != w || t.Rows.Len() != t.Occupancy.Experts() {
			return fmt.Errorf("peer: set %s: block %d: rows [%d, %d], want [%d, %d]", s.Name, t.Block, t.Rows.Len(), t.Rows.Width, t.Occupancy.Experts(), w)
		}
		if t.Counts != nil && len(t.Counts) != l.Cells() {
			return fmt.Errorf("peer: set %s: block %d: counts of %d cells, want %d", s.Name, t.Block, len(t.Counts), l.Cells())
		}
		if t.Hits != nil && len(t.Hits) != t.Occupancy.Experts() {
			return fmt.Errorf("peer: set %s: block %d: hits of %d experts, want %d", s.Name, t.Block, len(t.Hits), t.Occupancy.Experts())
		}
		if t.Fresh < 0 || t.Fresh > t.Occupancy.Experts() {
			return fmt.Errorf("peer: set %s: block %d: %d of %d experts untrained", s.Name, t.Block, t.Fresh, t.Occupancy.Experts())
		}
		if !(t.Cap >= 0) || math.IsInf(float64(t.Cap), 0) {
			return fmt.Errorf("peer: set %s: block %d: a bound of %g on its output, want 0 or more", s.Name, t.Block, t.Cap)
		}
	}
	return nil
}
