package peer

import (
	"fmt"
	"slices"
)

// Fresh returns how many of the set's experts were never trained.
func (s *Set) Fresh() int {
	n := 0
	for _, t := range s.Tables {
		n += t.Fresh
	}
	return n
}

// OnlyNew freezes the experts that were trained before: only those that never were get gradients. Without any the error
// says so.
func (t *Training) OnlyNew() error {
	if t.Set.Fresh() == 0 {
		return fmt.Errorf("peer: set %s has no experts that were never trained; add some first", t.Set.Name)
	}
	t.Fresh = true
	for _, l := range t.layers {
		if table := l.Table(); table != nil {
			l.frozen = table.Experts() - table.Fresh
		}
	}
	return nil
}

// unfrozen returns the gradient of the experts that learn.
func (b *bank) unfrozen() *RowGrad {
	if b.layer.frozen == 0 {
		return &b.grad
	}
	g := &b.grad
	at, _ := slices.BinarySearch(g.Rows, uint32(b.layer.frozen))
	b.learning = RowGrad{Width: g.Width, Rows: g.Rows[at:], Values: g.Values[at*g.Width:]}
	return &b.learning
}
