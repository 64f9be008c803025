package peer

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Placing says how a set's experts are placed.
type Placing struct {
	Ordering retrieval.Ordering // of the cells; empty for retrieval.Default
	Experts  int                // a layer
	Spread   int                // neighbouring cells where an expert can be reached too
}

// Place places a new set by its own data's counts, as Counter.Counts gave them: where there are fewer experts than cells,
// in the cells that the ordering puts first against the router's background text and the other sets.
func Place(r *retrieval.Router, counts [][]uint32, others []*Set, o Placing) ([]Placement, error) {
	if len(counts) != len(r.Layers) {
		return nil, fmt.Errorf("peer: place by counts of %d layers, the router has %d", len(counts), len(r.Layers))
	}
	places := make([]Placement, len(r.Layers))
	for i, l := range r.Layers {
		occ, err := o.layer(r, l, counts[i], others)
		if err != nil {
			return nil, fmt.Errorf("peer: block %d: %w", l.Block, err)
		}
		places[i] = Placement{Occupancy: occ, Counts: counts[i]}
	}
	return places, nil
}

func (o Placing) layer(r *retrieval.Router, l *retrieval.Layer, counts []uint32, others []*Set) (*retrieval.Occupancy, error) {
	order, err := o.order(r, l, counts, others)
	if err != nil {
		return nil, err
	}
	occ, err := retrieval.Place(order, o.Experts)
	if err != nil {
		return nil, err
	}
	return l.Spread(occ, o.Spread)
}

// order returns a layer's cells in the order in which a set with these counts takes them.
func (o Placing) order(r *retrieval.Router, l *retrieval.Layer, counts []uint32, others []*Set) ([]uint32, error) {
	var against [][]uint32
	if l.Background != nil {
		against = append(against, l.Background)
	}
	for _, s := range others {
		if c := s.Selections(r, l); c != nil {
			against = append(against, c)
		}
	}
	return cmp.Or(o.Ordering, retrieval.Default).Order(counts, against...)
}

// Selections returns how often the set's own data selected the cells of one of the router's layers; nil when not known.
func (s *Set) Selections(r *retrieval.Router, l *retrieval.Layer) []uint32 {
	for _, t := range s.Tables {
		if t.Counts != nil && RoutedBy(r, t.Block, t.Site) == l {
			return t.Counts
		}
	}
	return nil
}

// Grow adds more experts to each of the set's tables, o.Experts to each but to the last ones one less until more is used
// up, in the cells that the ordering puts first and that hold none of the set's yet. Those there are keep their numbers,
// cells and rows, and the new ones contribute nothing until they are trained. The set must have counts.
func (s *Set) Grow(p *kernels.Pool, r *retrieval.Router, others []*Set, o Placing, more int, seed uint64) error {
	if err := s.Check(r); err != nil {
		return err
	}
	n := len(s.Tables)
	if more < n {
		return fmt.Errorf("peer: grow %s by %d experts in %d layers, want at least one a layer", s.Name, more, n)
	}
	for i, t := range s.Tables {
		if t.AlwaysOn() {
			return fmt.Errorf("peer: grow %s: block %d, %s: its experts are always on, and more of them would be another set: %w", s.Name, t.Block, t.Site, ErrPlace)
		}
		if t.Counts == nil {
			return fmt.Errorf("peer: grow %s: block %d has no counts of the set's own text to place experts by", s.Name, t.Block)
		}
		share := more / n
		if i < more%n {
			share++
		}
		order, err := o.order(r, RoutedBy(r, t.Block, t.Site), t.Counts, others)
		if err != nil {
			return fmt.Errorf("peer: grow %s: block %d: %w", s.Name, t.Block, err)
		}
		old := t.Occupancy.Experts()
		occ, err := t.Occupancy.Grow(order, share)
		if err != nil {
			return fmt.Errorf("peer: grow %s: block %d: %w", s.Name, t.Block, err)
		}
		rows := NewRows(occ.Experts(), t.Rows.Width, t.Rows.Format)
		copy(rows.F32, t.Rows.F32)
		copy(rows.BF16, t.Rows.BF16)
		t.Occupancy, t.Rows, t.Fresh = occ, rows, t.Fresh+share
		t.init(p, old, seed)
		if t.Hits != nil {
			t.Hits = append(slices.Clone(t.Hits), make([]uint32, share)...)
		}
	}
	return s.Check(r)
}

// SetTrained says that every expert was trained, and keeps how often text, whose cells are counted in counts as
// Counter.Counts gives them, selected each expert in cells.
func (s *Set) SetTrained(r *retrieval.Router, counts [][]uint32) error {
	for _, t := range s.Tables {
		t.Fresh = 0
		if t.AlwaysOn() {
			continue
		}
		i := slices.Index(r.Layers, RoutedBy(r, t.Block, t.Site))
		var err error
		if t.Hits, err = t.Occupancy.Hits(counts[i]); err != nil {
			return fmt.Errorf("peer: set %s: block %d, %s: %w", s.Name, t.Block, t.Site, err)
		}
	}
	return nil
}

// Prune leaves in each table in cells that share of its experts, rounded up, that its own text selected most, renumbered in
// their order. Those tables must have hits.
func (s *Set) Prune(keep float64) error {
	if !(keep > 0 && keep <= 1) {
		return fmt.Errorf("peer: prune %s to a share of %g, want more than 0 and at most 1", s.Name, keep)
	}
	if s.AlwaysOn() {
		return fmt.Errorf("peer: prune %s: its experts are always on, and every token selects them: %w", s.Name, ErrPlace)
	}
	for _, t := range s.Tables {
		if t.AlwaysOn() {
			continue
		}
		if t.Hits == nil {
			return fmt.Errorf("peer: prune %s: block %d: %w", s.Name, t.Block, ErrNoHits)
		}
		order := make([]uint32, len(t.Hits))
		for e := range order {
			order[e] = uint32(e)
		}
		slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(t.Hits[b], t.Hits[a]) })
		kept := order[:int(math.Ceil(keep*float64(len(order))))]
		slices.Sort(kept)
		occ, err := t.Occupancy.Keep(kept)
		if err != nil {
			return fmt.Errorf("peer: prune %s: block %d: %w", s.Name, t.Block, err)
		}
		rows, hits := NewRows(len(kept), t.Rows.Width, t.Rows.Format), make([]uint32, len(kept))
		buf := make([]float32, t.Rows.Width)
		for i, e := range kept {
			rows.Set(i, t.Rows.Row(int(e), buf))
			hits[i] = t.Hits[e]
		}
		trained, _ := slices.BinarySearch(kept, uint32(t.Occupancy.Experts()-t.Fresh))
		t.Fresh = len(kept) - trained
		t.Occupancy, t.Rows, t.Hits = occ, rows, hits
	}
	return nil
}
