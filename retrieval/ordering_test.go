package retrieval

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOrderings: every ordering is a permutation of the cells, whatever the counts.
func TestOrderings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "cells")
		counts := rapid.SliceOfN(rapid.Uint32Range(0, 50), n, n)
		own := counts.Draw(t, "own")
		var others [][]uint32
		for range rapid.IntRange(0, 3).Draw(t, "others") {
			others = append(others, counts.Draw(t, "other"))
		}
		for _, o := range []Ordering{TFIDF, Ratio, Count, Full} {
			order, err := o.Order(own, others...)
			if err != nil {
				t.Fatal(o, err)
			}
			sorted := slices.Clone(order)
			slices.Sort(sorted)
			for i, c := range sorted {
				if int(c) != i {
					t.Fatalf("%s: %v is no permutation of %d cells", o, order, n)
				}
			}
		}
		// others in another order give the same
		if len(others) > 1 {
			a, _ := ByRatio(own, others...)
			slices.Reverse(others)
			if b, _ := ByRatio(own, others...); !slices.Equal(a, b) {
				t.Fatal("the order of the other sets matters")
			}
		}
	})
	if _, err := Ordering("most").Order([]uint32{1}); !errors.Is(err, ErrOrdering) || Ordering("most").Check() == nil {
		t.Error(err)
	}
}

func TestRatio(t *testing.T) {
	// Against Dunning's formula written as 2·Σ observed·log(observed/expected) over the four cells of the table.
	table := func(k, n, l, m float64) float64 {
		var g float64
		for _, c := range [][3]float64{{k, n, k + l}, {l, m, k + l}, {n - k, n, n + m - k - l}, {m - l, m, n + m - k - l}} {
			if c[0] > 0 {
				g += 2 * c[0] * math.Log(c[0]*(n+m)/(c[1]*c[2]))
			}
		}
		if k/n < l/m {
			return -g
		}
		return g
	}
	for _, c := range [][4]float64{{10, 100, 5, 200}, {0, 100, 5, 200}, {7, 100, 14, 200}, {100, 100, 5, 200}, {0, 10, 0, 10}} {
		if got, want := ratio(c[0], c[1], c[2], c[3]), table(c[0], c[1], c[2], c[3]); math.Abs(got-want) > 1e-9*(1+math.Abs(want)) {
			t.Errorf("%v: %g, want %g", c, got, want)
		}
	}
	// Cell 0 is as much rarer elsewhere as cell 1, on a tenth of the counts: TF-IDF, too, but by share alone.
	order, err := ByRatio([]uint32{10, 100, 0, 200}, []uint32{1, 10, 50, 249})
	if err != nil || !slices.Equal(order, []uint32{1, 0, 3, 2}) {
		t.Error(order, err)
	}
	// The other set that the cell is least the set's own against decides.
	order, err = ByRatio([]uint32{50, 50, 50}, []uint32{0, 50, 50}, []uint32{90, 5, 5})
	if err != nil || order[2] != 0 {
		t.Error(order, err)
	}
	if _, err := ByRatio([]uint32{1, 2}, []uint32{1}); err == nil {
		t.Error("counts of another layer pass")
	}
}
