package exchange

import (
	"fmt"
	"slices"
	"strings"
)

// fit compares the tensors that an adapter should have with those that its file has, each with its shape. The error names
// what is missing, what is too much, and what has another shape.
func fit(want, got map[string][]int) error {
	var missing, shapes, extra []string
	for name, shape := range want {
		if g, ok := got[name]; !ok {
			missing = append(missing, fmt.Sprintf("%s %v", name, shape))
		} else if !slices.Equal(g, shape) {
			shapes = append(shapes, fmt.Sprintf("%s is %v, want %v", name, g, shape))
		}
	}
	for name, shape := range got {
		if _, ok := want[name]; !ok {
			extra = append(extra, fmt.Sprintf("%.120s %v", name, shape))
		}
	}
	var said []string
	for _, part := range []struct {
		what string
		list []string
	}{{"missing", missing}, {"of another shape (another base, or another rank?)", shapes}, {"not expected", extra}} {
		if len(part.list) > 0 {
			said = append(said, part.what+": "+some(part.list))
		}
	}
	if len(said) == 0 {
		return nil
	}
	return fmt.Errorf("%d tensors wanted, %d there; %s: %w", len(want), len(got), strings.Join(said, "; "), ErrMismatch)
}

// some names the first few of a list.
func some(list []string) string {
	const most = 4
	slices.Sort(list)
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
