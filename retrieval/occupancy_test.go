package retrieval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func cellsName(n, tokens int) string { return fmt.Sprintf("cells=%d/tokens=%d", n*n, tokens) }

func TestOccupancy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells, experts := rapid.IntRange(1, 60).Draw(t, "cells"), rapid.IntRange(1, 80).Draw(t, "experts")
		seen := map[Post]bool{}
		var posts []Post
		for range rapid.IntRange(0, 150).Draw(t, "posts") {
			p := Post{uint32(rapid.IntRange(0, cells-1).Draw(t, "cell")), uint32(rapid.IntRange(0, experts-1).Draw(t, "expert"))}
			if !seen[p] {
				seen[p], posts = true, append(posts, p)
			}
		}
		o, err := NewOccupancy(cells, experts, posts)
		if err != nil {
			t.Fatal(err)
		}
		back, err := UnmarshalOccupancy(o.Marshal(), cells, experts)
		if err != nil {
			t.Fatal(err)
		}
		occupied := 0
		for c := range cells {
			var want []uint32
			for e := range experts {
				if seen[Post{uint32(c), uint32(e)}] {
					want = append(want, uint32(e))
				}
			}
			if len(want) > 0 {
				occupied++
			}
			for _, x := range []*Occupancy{o, back} {
				if got := x.Lookup(uint32(c)); !slices.Equal(got, want) {
					t.Fatalf("cell %d: %v, want %v", c, got, want)
				}
			}
		}
		if o.Occupied() != occupied || o.Experts() != experts || o.Cells() != cells {
			t.Fatal(o.Occupied(), o.Experts(), o.Cells())
		}
	})
}

func TestOccupancyErrors(t *testing.T) {
	for _, posts := range [][]Post{{{3, 0}}, {{0, 2}}, {{1, 1}, {1, 1}}} {
		if _, err := NewOccupancy(3, 2, posts); err == nil {
			t.Errorf("%v passes", posts)
		}
	}
	full := FullGrid(9)
	if full.Occupied() != 9 || full.Lookup(4)[0] != 4 {
		t.Error("full grid")
	}
	if _, err := UnmarshalOccupancy(full.Marshal(), 9, 8); !errors.Is(err, ErrCorrupt) {
		t.Error("full grid read as another:", err)
	}
}

func FuzzUnmarshalOccupancy(f *testing.F) {
	o, err := NewOccupancy(6, 3, []Post{{1, 0}, {1, 2}, {5, 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(o.Marshal())
	f.Add(FullGrid(6).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := UnmarshalOccupancy(b, 6, 3)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		for c := range 6 {
			for _, e := range o.Lookup(uint32(c)) {
				if e >= 3 {
					t.Fatal(e)
				}
			}
		}
	})
}

func TestPlace(t *testing.T) {
	order := ByCount([]uint32{5, 9, 0, 9})
	if !slices.Equal(order, []uint32{1, 3, 0, 2}) {
		t.Fatal(order)
	}
	rapid.Check(t, func(t *rapid.T) {
		e := rapid.IntRange(1, 4*MaxPerCell).Draw(t, "experts")
		o, err := Place(order, e)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for rank, c := range order {
			l := o.Lookup(c)
			want := e / 4
			if rank < e%4 {
				want++
			}
			if len(l) != want {
				t.Fatalf("cell %d, rank %d: %v of %d experts", c, rank, l, e)
			}
			seen += len(l)
		}
		if seen != e {
			t.Fatal(seen)
		}
	})
	if _, err := Place(order, 4*MaxPerCell+1); err == nil || !strings.Contains(err.Error(), "at least 5") {
		t.Error(err)
	}
}

func TestTFIDF(t *testing.T) {
	own, background, other := []uint32{10, 10, 10, 0, 1}, []uint32{1, 1, 30, 1, 0}, []uint32{30, 0, 0, 0, 1}
	order, err := ByTFIDF(own, background, other)
	if err != nil {
		t.Fatal(err)
	}
	if order[0] != 1 { // frequent, and nobody else's
		t.Error(order)
	}
	if order[4] != 3 { // never hit
		t.Error(order)
	}
	if _, err := ByTFIDF(own, background[:2]); err == nil {
		t.Error("counts of another layer pass")
	}
	alone, err := ByTFIDF(own)
	if err != nil || alone[4] != 3 {
		t.Error(alone, err)
	}
}

func TestCounts(t *testing.T) {
	for _, c := range [][]uint32{nil, {1, 2, 1 << 31}} {
		got, err := UnmarshalCounts(MarshalCounts(c), 3)
		if err != nil || !slices.Equal(got, c) {
			t.Error(got, err)
		}
	}
	for _, b := range [][]byte{{}, {3, 1}, {2, 1, 1}, {3, 1, 1, 1, 1}, {200}} {
		if _, err := UnmarshalCounts(b, 3); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", b, err)
		}
	}
}
