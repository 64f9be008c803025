package peer

import (
	"fmt"
	"slices"
)

// OnlyNew freezes the experts that were trained before: only those that never were get gradients. Without any the error
// says so.
func (t *Training) OnlyNew() error {
	n := 0
	for _, table := range t.Set.Tables {
		n += table.Fresh
	}
	if n == 0 {
		return fmt.Errorf("peer: set %s has no experts that were never trained; add some first", t.Set.Name)
	}
	t.Fresh = true
	for _, l := range t.layers {
		if table := l.Table(); table != nil {
			l.frozen = table.Occupancy.Experts() - table.Fresh
		}
	}
	return nil
}

// unfrozen returns the gradient of the experts that learn.
func (l *TrainLayer) unfrozen() *RowGrad {
	if l.frozen == 0 {
		return &l.grad
	}
	g := &l.grad
	at, _ := slices.BinarySearch(g.Rows, uint32(l.frozen))
	l.learning = RowGrad{Width: g.Width, Rows: g.Rows[at:], Values: g.Values[at*g.Width:]}
	return &l.learning
}
