package peer

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/retrieval"
)

// TestCombine: combined, every token and expert is one pair, and its gate is the sum of those before.
func TestCombine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		const cells, experts, perToken, tokens = 12, 5, 8, 7
		var posts []retrieval.Post
		for c := range uint32(cells) {
			for e := range uint32(experts) {
				if rnd.IntN(3) == 0 {
					posts = append(posts, retrieval.Post{Cell: c, Expert: e})
				}
			}
		}
		o, err := retrieval.NewOccupancy(cells, experts, posts)
		if err != nil {
			t.Fatal(err)
		}
		r := &retrieval.Routing{Tokens: tokens}
		for range tokens * perToken {
			r.Cells, r.Gates = append(r.Cells, uint32(rnd.IntN(cells))), append(r.Gates, float32(1+rnd.IntN(4)))
		}
		var p pairs
		if !p.find(o, r, 2, tokens, perToken, 2) {
			return
		}
		sums := func() map[[2]uint32]float32 {
			m := map[[2]uint32]float32{}
			for _, g := range p.groups {
				for i := g.lo; i < g.hi; i++ {
					m[[2]uint32{g.expert, p.tokens[i]}] += p.gates[i]
				}
			}
			return m
		}
		want := sums()
		p.combine()
		got := sums()
		if len(p.tokens) != len(want) || len(p.gates) != len(want) || len(p.picks) != len(want) || len(got) != len(want) {
			t.Fatalf("%d pairs of %d tokens and experts", len(p.tokens), len(want))
		}
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("expert and token %v: gate %g, want %g", k, got[k], v)
			}
		}
	})
}
