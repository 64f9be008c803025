package retrieval

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawn is an occupancy with experts in any cells, several in one and one in several.
func drawn(t *rapid.T, cells int) *Occupancy {
	experts := rapid.IntRange(1, 30).Draw(t, "experts")
	var posts []Post
	for e := range experts {
		for _, c := range rapid.SliceOfNDistinct(rapid.IntRange(0, cells-1), 1, min(3, cells), rapid.ID[int]).Draw(t, "home") {
			posts = append(posts, Post{uint32(c), uint32(e)})
		}
	}
	o, err := NewOccupancy(cells, experts, posts)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const cells = 20
		o := drawn(t, cells)
		order := ByCount(rapid.SliceOfN(rapid.Uint32Range(0, 9), cells, cells).Draw(t, "counts"))
		free := cells - o.Occupied()
		more := rapid.IntRange(1, cells).Draw(t, "more")
		g, err := o.Grow(order, more)
		if err != nil {
			t.Fatal(err)
		}
		if g.Experts() != o.Experts()+more {
			t.Fatalf("%d experts after growing %d by %d", g.Experts(), o.Experts(), more)
		}
		grown := 0
		for c := range uint32(cells) {
			was, is := o.Lookup(c), g.Lookup(c)
			if !slices.Equal(is[:len(was)], was) {
				t.Fatalf("cell %d: %v, was %v", c, is, was)
			}
			grown += len(is) - len(was)
			if len(is) > len(was) && len(is) > MaxPerCell {
				t.Fatalf("cell %d: %v", c, is)
			}
			if more <= free && len(is) > len(was) && len(was) > 0 {
				t.Fatalf("cell %d was taken, %d others were free for %d", c, free, more)
			}
		}
		if grown != more {
			t.Fatalf("%d new posts for %d experts", grown, more)
		}
		// the first of the new ones has the best free cell
		if free > 0 {
			best := order[slices.IndexFunc(order, func(c uint32) bool { return len(o.Lookup(c)) == 0 })]
			if l := g.Lookup(best); l[0] != uint32(o.Experts()) {
				t.Fatalf("the best free cell has %v", l)
			}
		}
	})
	full := FullGrid(4)
	order := []uint32{2, 0, 1, 3}
	if g, err := full.Grow(order, 5); err != nil || len(g.Lookup(2)) != 3 || len(g.Lookup(3)) != 2 {
		t.Error("a full grid grows by a layer of cells:", g, err)
	}
	for _, more := range []int{0, 4*(MaxPerCell-1) + 1} {
		if _, err := full.Grow(order, more); err == nil {
			t.Errorf("grew by %d", more)
		}
	}
	if _, err := full.Grow(order[:3], 1); err == nil {
		t.Error("an order of other cells passes")
	}
}

func TestKeep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const cells = 20
		o := drawn(t, cells)
		var kept []uint32
		for e := range uint32(o.Experts()) {
			if rapid.Bool().Draw(t, "keep") {
				kept = append(kept, e)
			}
		}
		k, err := o.Keep(kept)
		if err != nil {
			t.Fatal(err)
		}
		for c := range uint32(cells) {
			var want, got []uint32
			for _, e := range o.Lookup(c) {
				if slices.Contains(kept, e) {
					want = append(want, e)
				}
			}
			for _, e := range k.Lookup(c) {
				got = append(got, kept[e])
			}
			if !slices.Equal(got, want) {
				t.Fatalf("cell %d keeps %v, want %v", c, got, want)
			}
		}
	})
	for _, bad := range [][]uint32{{1, 0}, {1, 1}, {9}} {
		if _, err := FullGrid(9).Keep(bad); err == nil {
			t.Errorf("%v passes", bad)
		}
	}
}

func TestHits(t *testing.T) {
	o, err := NewOccupancy(3, 2, []Post{{0, 0}, {1, 0}, {1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	hits, err := o.Hits([]uint32{5, 1 << 31, 9})
	if err != nil || !slices.Equal(hits, []uint32{5 + 1<<31, 1 << 31}) {
		t.Error(hits, err)
	}
	if hits, err = o.Hits([]uint32{1<<32 - 1, 7, 0}); err != nil || hits[0] != 1<<32-1 {
		t.Error("a sum of hits overflows:", hits, err)
	}
	if _, err := o.Hits([]uint32{1}); err == nil {
		t.Error("counts of another layer pass")
	}
}
