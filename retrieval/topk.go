package retrieval

import "github.com/gopeft/peft/kernels"

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

// product writes the len(cells) best cells for the scores of the two halves, and their scores.
func (t *scratch) product(cells []uint32, scores, s1, s2 []float32, order []pair) {
	k, n := len(cells), len(s1)
	m := min(k, n)
	for i, s := range [2][]float32{s1, s2} {
		t.val[i] = resize(t.val[i], m)
		t.idx[i] = resize(t.idx[i], m)
		kernels.TopK(t.val[i], t.idx[i], s)
	}
	t.sum = resize(t.sum, len(order))
	for i, o := range order {
		t.sum[i] = t.val[0][o.a] + t.val[1][o.b]
	}
	t.chosen = resize(t.chosen, k)
	kernels.TopK(scores, t.chosen, t.sum)
	for i, c := range t.chosen {
		o := order[c]
		cells[i] = uint32(int(t.idx[0][o.a])*n + int(t.idx[1][o.b]))
	}
}
