package retrieval

import (
	"math"

	"github.com/gopeft/peft/kernels"
)

// pair is a pair of ranks: the a-th best sub-key of the first half with the b-th best of the second.
type pair struct{ a, b int32 }

// candidates returns, in order of (a, b), the only pairs of ranks that can be among the k best sums. Pair (a, b) comes
// after all pairs (a', b') with a' ≤ a and b' ≤ b, so at most k of those, itself included, leave it a chance.
func candidates(c Config) []pair {
	var all []pair
	m := min(c.TopK, c.SubKeys)
	for a := range m {
		for b := range m {
			if (a+1)*(b+1) <= c.TopK {
				all = append(all, pair{int32(a), int32(b)})
			}
		}
	}
	return all
}

// blocks returns the pairs (a, b) that with all better pairs make at least k: the k-th best sum is no less than theirs.
func blocks(c Config) []pair {
	var all []pair
	m := min(c.TopK, c.SubKeys)
	for a := range m {
		if b := (c.TopK+a)/(a+1) - 1; b < m && (b == 0 || len(all) == 0 || all[len(all)-1].b > int32(b)) {
			all = append(all, pair{int32(a), int32(b)})
		}
	}
	return all
}

// product writes the len(cells) best cells for the scores of the two halves, and their scores.
func (t *scratch) product(cells []uint32, scores, s1, s2 []float32, k *packed) {
	n := len(s1)
	m := min(len(cells), n)
	for i, s := range [2][]float32{s1, s2} {
		t.val[i] = resize(t.val[i], m)
		t.idx[i] = resize(t.idx[i], m)
		kernels.TopK(t.val[i], t.idx[i], s)
	}
	v1, v2 := t.val[0], t.val[1]
	least := float32(math.Inf(-1))
	for _, b := range k.blocks {
		least = max(least, v1[b.a]+v2[b.b])
	}
	t.sum, t.of = resize(t.sum, len(k.order)+1), resize(t.of, len(k.order)+1)
	found := 0
	for i, o := range k.order {
		s := v1[o.a] + v2[o.b]
		t.sum[found], t.of[found] = s, int32(i)
		var in int
		if s >= least {
			in = 1
		}
		found += in
	}
	if found < len(cells) { // there are NaN
		for i, o := range k.order {
			t.sum[i], t.of[i] = v1[o.a]+v2[o.b], int32(i)
		}
		found = len(k.order)
	}
	t.chosen = resize(t.chosen, len(cells))
	kernels.TopK(scores, t.chosen, t.sum[:found])
	for i, c := range t.chosen {
		o := k.order[t.of[c]]
		cells[i] = uint32(int(t.idx[0][o.a])*n + int(t.idx[1][o.b]))
	}
}
