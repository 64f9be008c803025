package tune

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
)

// round is how many turns with sets beside the trained one make a whole: of each the set is on in as many as its share says.
const round = 6

// The share of the turns with others in which a set beside the trained one is on: usually and at least, in parts of round.
// At most it is on in all.
const usualShare, leastShare = 4, 2

// beside says which of the sets beside the trained one are on in a turn: a part of a step's tokens that goes through the
// graph at once.
type beside struct {
	with   []*peer.Set
	shares []int // of each, in parts of round; nil: all are always on
	seed   uint64
}

// newBeside measures what each of several sets does to the text that is learned, if they are to alternate.
func newBeside(ctx context.Context, r *run, train []Sequence) (*beside, error) {
	b := &beside{with: r.t.With, seed: r.o.Seed}
	if !r.o.Alternate {
		return b, nil
	}
	sample := Batches(train, r.o.BatchTokens, r.o.Seed, 1)[0]
	nll := func(on ...*peer.Set) (float64, error) {
		r.t.Beside(on)
		v, _, err := Evaluate(ctx, r.m, sample, r.t, r.o.BatchTokens, nil)
		return v, err
	}
	rises := make([]float64, len(b.with))
	if len(b.with) > 1 {
		off, err := nll()
		if err != nil {
			return nil, err
		}
		for i, s := range b.with {
			on, err := nll(s)
			if err != nil {
				return nil, fmt.Errorf("with %s: %w", s.Name, err)
			}
			rises[i] = on - off
		}
	}
	b.shares = shares(rises)
	return b, nil
}

// shares returns how often each set is to be on, in parts of round: the more it makes the text worse, the more there is to
// learn about getting on with it.
func shares(rises []float64) []int {
	var mean float64
	for _, r := range rises {
		mean += max(0, r) / float64(len(rises))
	}
	all := make([]int, len(rises))
	for i, r := range rises {
		all[i] = usualShare
		if mean > 0 {
			all[i] = int(min(round, max(leastShare, math.Round(usualShare*max(0, r)/mean))))
		}
		if len(rises) == 1 {
			all[i] = round
		}
	}
	return all
}

// on returns those that are on in a turn, from 0. When they alternate that is none in every second turn; in the others each
// set is on in its share, and which turns these are is drawn anew for each set and round, so that it meets others that change.
func (b *beside) on(turn int) []*peer.Set {
	if b.shares == nil {
		return b.with
	}
	if turn%2 == 0 {
		return nil
	}
	var on []*peer.Set
	var p permutation
	for i, s := range b.with {
		turns := p.of(round, b.seed+uint64(i), uint64(turn/2/round))
		if slices.Contains(turns[:b.shares[i]], turn/2%round) {
			on = append(on, s)
		}
	}
	return on
}
