package tune

import (
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

// TestBesideInTurn: a set that alternates is by itself in every second turn, and of three others meets each of the sets beside it
// in two, all of them together in one, and in the long run each with and without each other.
func TestBesideInTurn(t *testing.T) {
	var with []*peer.Set
	for n := range 6 {
		o := Options{Alternate: true, Seed: 7}
		apart := map[[2]int]bool{}
		for turn := 0; turn < 120; turn += 6 {
			met := map[*peer.Set]int{}
			for i, want := range []int{0, (n + 1) / 2, 0, n / 2, 0, n} {
				on := o.beside(with, turn+i)
				if n == 1 && i%2 == 1 {
					want = 1
				}
				if len(on) != want {
					t.Fatalf("turn %d: %d of %d sets are on, want %d", turn+i, len(on), n, want)
				}
				for _, s := range on {
					met[s]++
				}
				for j, a := range with {
					for k, b := range with[:j] {
						apart[[2]int{j, k}] = apart[[2]int{j, k}] || slices.Contains(on, a) != slices.Contains(on, b)
					}
				}
			}
			for _, s := range with {
				if n > 1 && met[s] != 2 || n == 1 && met[s] != 3 {
					t.Errorf("turns from %d on: set %s is on in %d of 6", turn, s.Name, met[s])
				}
			}
		}
		for pair, ok := range apart {
			if !ok {
				t.Errorf("of %d sets %v are never on without each other", n, pair)
			}
		}
		always := Options{}
		if !slices.Equal(always.beside(with, 0), with) || !slices.Equal(always.beside(with, 1), with) {
			t.Errorf("%d sets are not always on without Alternate", n)
		}
		with = append(with, &peer.Set{Name: string(rune('a' + n))})
	}
}
