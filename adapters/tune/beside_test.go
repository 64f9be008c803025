package tune

import (
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

func TestShares(t *testing.T) {
	for _, c := range []struct {
		rises []float64
		want  []int
	}{
		{nil, []int{}},
		{[]float64{0.3}, []int{6}},
		{[]float64{-0.1, 0}, []int{4, 4}},
		{[]float64{0.1, 0.1, 0.1}, []int{4, 4, 4}},
		{[]float64{0.1, 0.01, 0.04, 0.04}, []int{6, 2, 3, 3}},
		{[]float64{0.1, -5}, []int{6, 2}},
	} {
		if got := shares(c.rises); !slices.Equal(got, c.want) {
			t.Errorf("sets that raise the loss by %v are on in %v of %d turns, want %v", c.rises, got, round, c.want)
		}
	}
}

// TestBesideInTurn: a set that alternates is by itself in every second turn; in each round of the others it meets each of the
// sets beside it as often as its share says, and in the long run each with and without each other that is not always on.
func TestBesideInTurn(t *testing.T) {
	b := &beside{shares: []int{}, seed: 7}
	for n := range 6 {
		apart := map[[2]int]bool{}
		for first := 0; first < 20*2*round; first += 2 * round {
			met := map[*peer.Set]int{}
			for turn := first; turn < first+2*round; turn++ {
				on := b.on(turn)
				if turn%2 == 0 && len(on) > 0 {
					t.Fatalf("turn %d: %d of %d sets are on, want none", turn, len(on), n)
				}
				for j, s := range b.with {
					if slices.Contains(on, s) {
						met[s]++
					}
					for k, other := range b.with[:j] {
						apart[[2]int{j, k}] = apart[[2]int{j, k}] || slices.Contains(on, s) != slices.Contains(on, other)
					}
				}
			}
			for i, s := range b.with {
				if met[s] != b.shares[i] {
					t.Errorf("turns from %d on: set %s is on in %d, want %d", first, s.Name, met[s], b.shares[i])
				}
			}
		}
		for pair, ok := range apart {
			if !ok {
				t.Errorf("of %d sets %v are never on without each other", n, pair)
			}
		}
		b.with = append(b.with, &peer.Set{Name: string(rune('a' + n))})
		b.shares = append(b.shares, max(leastShare, round-n))
		always := &beside{with: b.with}
		if !slices.Equal(always.on(0), b.with) || !slices.Equal(always.on(1), b.with) {
			t.Errorf("%d sets are not always on unless they alternate", n+1)
		}
	}
}
