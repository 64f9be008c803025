package peer

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// Check reports the first thing about s that does not fit its router. The error wraps ErrOtherRouter when s was made for
// another one, and ErrPlace when a table stands where its kind cannot.
func (s *Set) Check(r *retrieval.Router) error {
	sum, err := r.SHA256()
	if err != nil {
		return err
	}
	if s.Router != sum {
		return fmt.Errorf("peer: set %s was made for router %.12s, this base's is %.12s: %w", s.Name, s.Router, sum, ErrOtherRouter)
	}
	if s.Hidden != r.Hidden {
		return fmt.Errorf("peer: set %s has width %d, its router %d", s.Name, s.Hidden, r.Hidden)
	}
	if len(s.Tables) == 0 {
		return fmt.Errorf("peer: set %s has no experts", s.Name)
	}
	var last *Table
	for _, t := range s.Tables {
		if last != nil && t.order(last) <= 0 {
			return fmt.Errorf("peer: set %s: the table of block %d, %s, after that of block %d, %s", s.Name, t.Block, t.Site, last.Block, last.Site)
		}
		last = t
		if err := t.check(s, r); err != nil {
			return fmt.Errorf("peer: set %s: block %d, %s: %w", s.Name, t.Block, t.Site, err)
		}
	}
	return nil
}

// order compares places.
func (t *Table) order(o *Table) int { return cmp.Or(t.Block-o.Block, int(t.Site)-int(o.Site)) }

func (t *Table) check(s *Set, r *retrieval.Router) error {
	if err := t.stands(r); err != nil {
		return err
	}
	if t.Site == llama.Beside && (t.Dims != adapters.Dims{In: s.Hidden, Out: s.Hidden}) {
		return fmt.Errorf("experts of widths %v, want %d", t.Dims, s.Hidden)
	}
	experts := t.Rows.Len()
	if !t.AlwaysOn() {
		l := RoutedBy(r, t.Block, t.Site)
		if c := t.Occupancy.Cells(); c != l.Cells() {
			return fmt.Errorf("%d cells, the router has %d", c, l.Cells())
		}
		if t.Counts != nil && len(t.Counts) != l.Cells() {
			return fmt.Errorf("counts of %d cells, want %d", len(t.Counts), l.Cells())
		}
		experts = t.Occupancy.Experts()
	}
	if w := t.Kind.Width(t.Dims); t.Rows.Width != w || t.Rows.Len() != experts || experts < 1 {
		return fmt.Errorf("rows [%d, %d], want [%d, %d]", t.Rows.Len(), t.Rows.Width, experts, w)
	}
	if t.Hits != nil && len(t.Hits) != experts {
		return fmt.Errorf("hits of %d experts, want %d", len(t.Hits), experts)
	}
	if t.Fresh < 0 || t.Fresh > experts {
		return fmt.Errorf("%d of %d experts untrained", t.Fresh, experts)
	}
	if !(t.Cap >= 0) || math.IsInf(float64(t.Cap), 0) || t.Cap > 0 && t.Site != llama.Beside {
		return fmt.Errorf("a bound of %g on its output, want 0, or more beside the feed-forward layer", t.Cap)
	}
	return nil
}

// stands reports whether the table's kind can be where it is.
func (t *Table) stands(r *retrieval.Router) error {
	if t.Kind == nil {
		return fmt.Errorf("no kind: %w", ErrUnknownKind)
	}
	port, kind := t.Kind.Port(), t.Kind.Name()
	switch {
	case t.Site == llama.Beside && r.Layer(t.Block) == nil:
		return fmt.Errorf("the router has layers beside blocks %v: %w", r.Blocks(), ErrPlace)
	case t.Site == llama.Beside && port != adapters.InOut:
		return fmt.Errorf("experts of kind %s change a linear layer, and beside the feed-forward layer there is none: %w", kind, ErrPlace)
	case port == adapters.InIn && t.Site != llama.Out && t.Site != llama.Down:
		return fmt.Errorf("experts of kind %s change a layer's input, which this one shares with others; want %s or %s: %w", kind, llama.Out, llama.Down, ErrPlace)
	case !t.AlwaysOn() && !port.Additive():
		return fmt.Errorf("what experts of kind %s contribute does not add up, so they cannot stand in cells: %w", kind, ErrPlace)
	case !t.AlwaysOn() && RoutedBy(r, t.Block, t.Site) == nil:
		return fmt.Errorf("nothing selects cells for it: the router's blocks are %v, and attention takes the selection of a block below: %w", r.Blocks(), ErrPlace)
	case !port.Additive() && t.Rows.Len() > 1:
		return fmt.Errorf("%d experts of kind %s, whose contributions do not add up: %w", t.Rows.Len(), kind, ErrPlace)
	}
	return nil
}

// CheckBase reports the first table whose widths are not those of the base's layer.
func (s *Set) CheckBase(c *llama.Config) error {
	for _, t := range s.Tables {
		if t.Block < 0 || t.Block >= c.Layers {
			return fmt.Errorf("peer: set %s: block %d of a base with %d: %w", s.Name, t.Block, c.Layers, ErrPlace)
		}
		if t.Site != llama.Beside && !slices.Contains(c.LinearSites(), t.Site) {
			return fmt.Errorf("peer: set %s: block %d: the base has no %s, but %v: %w", s.Name, t.Block, t.Site, c.LinearSites(), ErrPlace)
		}
		if want := Widths(c, t.Site, t.Kind); t.Dims != want {
			return fmt.Errorf("peer: set %s: block %d, %s: experts from width %d to %d, the base wants %d to %d: %w",
				s.Name, t.Block, t.Site, t.Dims.In, t.Dims.Out, want.In, want.Out, ErrPlace)
		}
	}
	return nil
}
