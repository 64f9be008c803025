package tune

import (
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

// TestBesideInTurn: a set that alternates meets each of the others by itself, and all of them together.
func TestBesideInTurn(t *testing.T) {
	a, b := &peer.Set{Name: "a"}, &peer.Set{Name: "b"}
	both := []*peer.Set{a, b}
	for name, c := range map[string]struct {
		o    Options
		with []*peer.Set
		want [][]*peer.Set // from the first step on
	}{
		"none":             {Options{Alternate: true}, nil, [][]*peer.Set{nil, nil, nil, nil}},
		"one":              {Options{Alternate: true}, both[:1], [][]*peer.Set{nil, {a}, nil, {a}}},
		"two":              {Options{Alternate: true}, both, [][]*peer.Set{nil, {a}, nil, {b}, nil, {a, b}, nil, {a}}},
		"without turns":    {Options{}, both, [][]*peer.Set{both, both, both}},
		"without turns, 1": {Options{}, both[1:], [][]*peer.Set{{b}, {b}}},
	} {
		for step, want := range c.want {
			if got := c.o.beside(c.with, step); !slices.Equal(got, want) {
				t.Errorf("%s: step %d has %d sets beside it, want %d", name, step, len(got), len(want))
			}
		}
	}
}
