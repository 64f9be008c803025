package peer

import "slices"

// Excludes reports whether two sets cannot be on together: at some layer both have experts that are always on and whose
// contributions are no sums, as DoRA's. NewStack gives ErrPlace for them.
func (s *Set) Excludes(o *Set) bool {
	return slices.ContainsFunc(s.Tables, func(t *Table) bool {
		port := t.Kind.Port()
		return !port.Additive() && t.AlwaysOn() && slices.ContainsFunc(o.Tables, func(u *Table) bool {
			return u.order(t) == 0 && u.Kind.Port() == port && u.AlwaysOn()
		})
	})
}
