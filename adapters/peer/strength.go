package peer

import (
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Strength stands in a base's seam while it reads a set's own text with the set on, and measures how strong the set's
// voice is: for each layer and token the norm of what it adds beside the feed-forward layer, as a share of the norm of the
// residual stream it is added to. One goroutine at a time may use it.
type Strength struct {
	set                *Set
	alone, beside, all *Stack
	y                  []float32
	shares             map[int][]float32 // by block, of all tokens
}

var _ llama.Passing = (*Strength)(nil)

// NewStrength measures set, whose caps it takes off, with others on beside it.
func NewStrength(r *retrieval.Router, p *kernels.Pool, set *Set, others ...*Set) (*Strength, error) {
	set.Uncap()
	s := &Strength{set: set, shares: map[int][]float32{}}
	var err error
	if s.alone, err = NewStack(r, p, set); err != nil {
		return nil, err
	}
	if s.beside, err = NewStack(r, p, others...); err != nil {
		return nil, err
	}
	s.all, err = NewStack(r, p, append([]*Set{set}, others...)...)
	return s, err
}

// Begin implements llama.Passing.
func (s *Strength) Begin() llama.Pass { return &strengthPass{s, s.all.begin()} }

// strengthPass changes linear layers by all the sets.
type strengthPass struct {
	*Strength
	*pass
}

// Forward implements llama.Seam.
func (p *strengthPass) Forward(block int, y, x []float32, tokens int) error {
	return p.Strength.Forward(block, y, x, tokens)
}

// Forward adds the set's contribution to y, then that of the sets beside it.
func (s *Strength) Forward(block int, y, x []float32, tokens int) error {
	hid := s.set.Hidden
	s.y = resize(s.y, tokens*hid)
	clear(s.y)
	stream := norms(nil, y, tokens, hid)
	if err := s.alone.Forward(block, s.y, x, tokens); err != nil {
		return err
	}
	if s.set.Table(block) != nil {
		for i, n := range norms(nil, s.y, tokens, hid) {
			if stream[i] > 0 {
				s.shares[block] = append(s.shares[block], n/stream[i])
			}
		}
	}
	kernels.Add(y[:tokens*hid], y[:tokens*hid], s.y)
	return s.beside.Forward(block, y, x, tokens)
}

// Shares returns what was measured beside one block, ascending.
func (s *Strength) Shares(block int) []float32 {
	slices.Sort(s.shares[block])
	return s.shares[block]
}

// Fit caps each of the set's tables beside feed-forward layers at that quantile of what was measured: a share of the
// tokens of the set's own text, 1 - quantile, is louder. A layer that added nothing gets no cap.
func (s *Strength) Fit(quantile float64) error {
	if !(quantile > 0 && quantile <= 1) {
		return fmt.Errorf("peer: cap at quantile %g, want more than 0 and at most 1", quantile)
	}
	for _, t := range s.set.Tables {
		if t.Site != llama.Beside {
			continue
		}
		all := s.Shares(t.Block)
		if len(all) == 0 {
			return fmt.Errorf("peer: set %s: block %d: no text was measured", s.set.Name, t.Block)
		}
		t.Cap = all[max(0, int(math.Ceil(quantile*float64(len(all))))-1)]
	}
	return nil
}

// Uncap takes the set's caps off.
func (s *Set) Uncap() {
	for _, t := range s.Tables {
		t.Cap = 0
	}
}

// Scaled returns the set with all it contributes times x, its caps included. The set itself stays as it is; for x = 1 it
// is what is returned.
func (s *Set) Scaled(x float32) *Set {
	if x == 1 {
		return s
	}
	c := *s
	c.Scale *= x
	c.Tables = slices.Clone(s.Tables)
	for i, t := range c.Tables {
		scaled := *t
		scaled.Cap *= float32(math.Abs(float64(x)))
		c.Tables[i] = &scaled
	}
	return &c
}

// limit scales a token's contribution: [hidden] down to the table's cap, where it is above, and returns by how much.
func (a *active) limit(sum []float32, stream float32) float32 {
	n := norm(sum)
	if most := a.Cap * stream; n > most {
		kernels.Scale(most/n, sum)
		return most / n
	}
	return 1
}

// limitAll is limit for the contributions to several tokens, [tokens, hidden]. What it returns is kept in shares, unless
// that is nil.
func (a *active) limitAll(acc, streams, shares []float32) {
	hid := len(acc) / max(1, len(streams))
	for i, stream := range streams {
		share := a.limit(acc[i*hid:(i+1)*hid], stream)
		if shares != nil {
			shares[i] = share
		}
	}
}

func norm(v []float32) float32 { return float32(math.Sqrt(float64(kernels.Dot(v, v)))) }

// norms writes the norms of the rows of x: [tokens, hidden] to n, which it returns with that length.
func norms(n, x []float32, tokens, hid int) []float32 {
	n = resize(n, tokens)
	for i := range n {
		n[i] = norm(x[i*hid : (i+1)*hid])
	}
	return n
}
