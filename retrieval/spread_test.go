package retrieval

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// keyed is a layer with random sub-keys, as far as neighbours need it.
func keyed(seed uint64, c Config) *Layer {
	rnd := rand.New(rand.NewPCG(seed, 1))
	l := &Layer{Config: c}
	for half := range 2 {
		l.Keys[half] = make([]float32, c.Heads*c.SubKeys*c.HalfDim)
		for i := range l.Keys[half] {
			l.Keys[half][i] = float32(rnd.NormFloat64())
		}
	}
	return l
}

// TestNeighbours compares with the distances of all cells.
func TestNeighbours(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Heads: rapid.IntRange(1, 3).Draw(t, "heads"), TopK: 1, SubKeys: rapid.IntRange(1, 7).Draw(t, "n"), HalfDim: 4}
		l := keyed(rapid.Uint64().Draw(t, "seed"), c)
		cell := uint32(rapid.IntRange(0, l.Cells()-1).Draw(t, "cell"))
		n := rapid.IntRange(0, l.Cells()+1).Draw(t, "neighbours")
		apart := func(to uint32) float64 {
			s, least := c.SubKeys, 0.0
			for h := range c.Heads {
				sum := 0.0
				for half, key := range [2][2]int{{int(cell) / s, int(to) / s}, {int(cell) % s, int(to) % s}} {
					k := l.keys(h, half)
					for i := range c.HalfDim {
						d := float64(k[key[0]*c.HalfDim+i] - k[key[1]*c.HalfDim+i])
						sum += d * d
					}
				}
				if h == 0 || sum < least {
					least = sum
				}
			}
			return least
		}
		got := l.Neighbours([]uint32{cell}, n)[0]
		if len(got) != min(n, l.Cells()-1) || slices.Contains(got, cell) {
			t.Fatalf("%d neighbours of %d cells, want %d: %v", len(got), l.Cells(), n, got)
		}
		for i := 1; i < len(got); i++ {
			if apart(got[i-1]) > apart(got[i])+1e-4 {
				t.Fatalf("%v is not in order", got)
			}
		}
		for other := range uint32(l.Cells()) {
			if len(got) > 0 && other != cell && !slices.Contains(got, other) && apart(other) < apart(got[len(got)-1])-1e-4 {
				t.Fatalf("cell %d is nearer than the last of %v", other, got)
			}
		}
	})
}

func TestSpread(t *testing.T) {
	l := keyed(3, Config{Heads: 2, TopK: 2, SubKeys: 5, HalfDim: 6})
	o, err := NewOccupancy(25, 3, []Post{{4, 0}, {9, 1}, {20, 2}, {21, 2}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Spread(o, 3)
	if err != nil {
		t.Fatal(err)
	}
	near := l.Neighbours([]uint32{4, 9}, 3)
	for c := range uint32(25) {
		for e, home := range map[uint32][]uint32{0: append(near[0], 4), 1: append(near[1], 9), 2: {20, 21}} {
			if slices.Contains(s.Lookup(c), e) != slices.Contains(home, c) {
				t.Errorf("cell %d has %v, expert %d lives in %v", c, s.Lookup(c), e, home)
			}
		}
	}
	if same, err := l.Spread(o, 0); err != nil || same != o {
		t.Error("spread by nothing changes the occupancy", err)
	}
}
