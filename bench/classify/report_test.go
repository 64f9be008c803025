package main

import (
	"math"
	"testing"
)

func TestGap(t *testing.T) {
	a, b := hits{digits("1100"), digits("10")}, hits{digits("1110"), digits("11")}
	points, err := a.gap(b)
	if math.Abs(points-37.5) > 1e-9 { // 25 and 50 points
		t.Errorf("gap %v", points)
	}
	if want := 100 * math.Sqrt((0.1875/4+0.25/2)/4); math.Abs(err-want) > 1e-9 {
		t.Errorf("standard error %v, want %v", err, want)
	}
	if points, err := a.gap(a); points != 0 || err != 0 {
		t.Errorf("gap to itself %v ± %v", points, err)
	}
}

// TestSequences wants every label in one task of each sequence, and every label's word to be another.
func TestSequences(t *testing.T) {
	for _, s := range sequences {
		seen := map[string]bool{}
		for _, k := range s.tasks {
			for _, w := range k.words {
				if seen[w] {
					t.Errorf("%s: %s twice", s.name, w)
				}
				seen[w] = true
			}
		}
		if len(seen) != len(words) || len(wordOf) != len(words) {
			t.Errorf("%s: %d words of %d", s.name, len(seen), len(words))
		}
	}
}
