package peft

import (
	"cmp"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// firing is a set whose gate fires on a text.
type firing struct {
	set   *peer.Set
	above float64 // how far the text's score lies above the gate's threshold, nats for an average selection
}

// yielding says for each of the sets which other is on in its place, as an index, or -1 where it is on itself: of those that
// cannot be on together it is the one whose score lies highest above its threshold, and of equals the first.
func yielding(sets []firing) []int {
	order, to := make([]int, len(sets)), make([]int, len(sets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sets[b].above, sets[a].above) })
	var on []int
	for _, i := range order {
		if at := slices.IndexFunc(on, func(j int) bool { return sets[j].set.Excludes(sets[i].set) }); at >= 0 {
			to[i] = on[at]
			continue
		}
		to[i], on = -1, append(on, i)
	}
	return to
}

// combineSome returns the combination of those of the sets that do not yield to others, and what yields to what. above is
// that of firing.
func (e *Engine) combineSome(s *registry.Snapshot, r *retrieval.Router, wanted []strong, above []float64) (*combination, []int, error) {
	sets := make([]firing, len(wanted))
	for i, m := range wanted {
		set, err := e.fittingSet(s, r, m.Manifest)
		if err != nil {
			return nil, nil, err
		}
		sets[i] = firing{set, above[i]}
	}
	to := yielding(sets)
	var on []strong
	for i, m := range wanted {
		if to[i] < 0 {
			on = append(on, m)
		}
	}
	c, err := e.combine(s, r, on)
	return c, to, err
}
