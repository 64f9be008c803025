package peer

import (
	"math/bits"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/retrieval"
)

// pairs are the (token, expert) pairs of one table in one tile of tokens, in order of expert, then token, then head: each
// expert's row is read once a tile, and a token's experts are summed in the same order whatever the tile.
type pairs struct {
	item, swap []item
	tokens     []uint32 // of each pair, from the tile's first token
	gates      []float32
	picks      []uint32 // of each pair, its position in the routing's gates
	state      []float32
	groups     []group
	hit        []bool // of each token of the tile, whether the table has an expert for it
	count      [2048]uint32
}

type item struct {
	expert, token, pick uint32
	gate                float32
}

// group is one expert's pairs [lo, hi).
type group struct{ expert, lo, hi uint32 }

// find collects the pairs of the tokens [lo, hi) and reports whether there are any. Gates are multiplied by scale.
func (s *pairs) find(o *retrieval.Occupancy, r *retrieval.Routing, lo, hi, perToken int, scale float32) bool {
	s.item, s.groups = s.item[:0], s.groups[:0]
	s.hit = resize(s.hit, hi-lo)
	for t := lo; t < hi; t++ {
		before := len(s.item)
		for i := t * perToken; i < (t+1)*perToken; i++ {
			for _, e := range o.Lookup(r.Cells[i]) {
				s.item = append(s.item, item{expert: e, token: uint32(t - lo), pick: uint32(i), gate: r.Gates[i] * scale})
			}
		}
		s.hit[t-lo] = len(s.item) > before
	}
	if len(s.item) == 0 {
		return false
	}
	s.sort(o.Experts())
	n := len(s.item)
	s.tokens, s.gates, s.picks = resize(s.tokens, n), resize(s.gates, n), resize(s.picks, n)
	for i, it := range s.item {
		s.tokens[i], s.gates[i], s.picks[i] = it.token, it.gate, it.pick
		if i == 0 || it.expert != s.item[i-1].expert {
			s.groups = append(s.groups, group{expert: it.expert, lo: uint32(i)})
		}
		s.groups[len(s.groups)-1].hi = uint32(i + 1)
	}
	return true
}

// combine makes one pair of all those of a token and an expert, with the sum of their gates: what an expert adds is its gate
// times the same. Of the picks the first stays.
func (s *pairs) combine() {
	var n uint32
	for g := range s.groups {
		lo, hi := s.groups[g].lo, s.groups[g].hi
		first := n
		for i := lo; i < hi; i++ {
			if n > first && s.tokens[i] == s.tokens[n-1] {
				s.gates[n-1] += s.gates[i]
				continue
			}
			s.tokens[n], s.gates[n], s.picks[n] = s.tokens[i], s.gates[i], s.picks[i]
			n++
		}
		s.groups[g].lo, s.groups[g].hi = first, n
	}
	s.tokens, s.gates, s.picks = s.tokens[:n], s.gates[:n], s.picks[:n]
}

// sort orders the items by expert, keeping the order within an expert: a radix sort from the lowest digit.
func (s *pairs) sort(experts int) {
	digit := 11
	if len(s.item) < 1024 {
		digit = 8
	}
	width := bits.Len(uint(max(experts-1, 1)))
	digit = min(digit, width)
	s.swap = resize(s.swap, len(s.item))
	mask := uint32(1)<<digit - 1
	for shift := 0; shift < width; shift += digit {
		count := s.count[:mask+1]
		clear(count)
		for _, it := range s.item {
			count[it.expert>>shift&mask]++
		}
		var at uint32
		for d, c := range count {
			count[d] = at
			at += c
		}
		for _, it := range s.item {
			d := it.expert >> shift & mask
			s.swap[count[d]] = it
			count[d]++
		}
		s.item, s.swap = s.swap, s.item
	}
}

// work returns a group as its kind sees it. The state is that of the group's own pairs, width values each, and m the goroutine's memory.
func (s *pairs) work(g group, width int, m *adapters.Memory) adapters.Group {
	return adapters.Group{Tokens: s.tokens[g.lo:g.hi], Gates: s.gates[g.lo:g.hi], State: s.state[int(g.lo)*width : int(g.hi)*width], Memory: m}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
