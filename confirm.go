package peft

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// confirmation finds out by how much sets make the judged tokens of prompts likelier: what a gate takes for its set's own by the
// cells it selects is its own only if the set predicts it better than the base does. For text that the base itself wrote the
// likelihood ratio exceeds x with a probability of at most 1/x, whatever the set is (Ville's inequality).
type confirmation struct {
	e       *Engine
	b       *base.Base
	r       *storedRouter
	prompts [][]int32
	bare    [][]float32        // what the base makes of them, once it was asked
	known   map[string]float64 // gains of sets, for gainOf
}

// gains returns for each prompt by how many nats a set makes its judged tokens likelier, summed up to each of them.
func (c *confirmation) gains(ctx context.Context, set llama.Seam) ([][]float64, error) {
	if c.bare == nil {
		var err error
		if c.bare, err = c.surprisals(ctx, nil); err != nil {
			return nil, err
		}
	}
	with, err := c.surprisals(ctx, set)
	if err != nil {
		return nil, err
	}
	all := make([][]float64, len(with))
	for i, bare := range c.bare {
		sum := 0.0
		all[i] = make([]float64, len(bare))
		for j := range bare {
			sum += float64(bare[j] - with[i][j])
			all[i][j] = sum
		}
	}
	return all, nil
}

// surprisals returns the negative log-likelihood of each judged token, in nats, with a set or, where it is nil, with the base
// alone. What is judged is read by itself, after the one token before it, whatever the prompt has around it.
func (c *confirmation) surprisals(ctx context.Context, set llama.Seam) ([][]float32, error) {
	judged := make([][]int32, len(c.prompts))
	for i, p := range c.prompts {
		from, to := c.r.prompter.judged(p)
		judged[i] = p[from-1 : to]
	}
	all := make([][]float32, 0, len(judged))
	err := inBatches(ctx, judged, func(batch llama.Batch, some [][]int32) error {
		x, err := c.b.Model.Forward(batch, set)
		if err != nil {
			return fmt.Errorf("peft: gate: %w", err)
		}
		targets, weights := make([]int32, len(batch.Tokens)), make([]float32, len(batch.Tokens))
		row := 0
		for _, t := range some {
			for i, next := range t[1:] {
				targets[row+i], weights[row+i] = next, 1
			}
			row += len(t)
		}
		loss := make([]float32, len(batch.Tokens))
		c.b.Model.HeadLoss(loss, nil, x, targets, weights)
		for _, t := range some {
			all = append(all, loss[:len(t)-1])
			loss = loss[len(t):]
		}
		return nil
	})
	return all, err
}

// of returns the gains of a set.
func (c *confirmation) of(ctx context.Context, set *peer.Set) ([][]float64, error) {
	stack, err := peer.NewStack(c.r.Router, c.e.pool, set)
	if err != nil {
		return nil, err
	}
	return c.gains(ctx, stack)
}

// gain returns by how many nats a set makes all that is judged of the one prompt likelier.
func (c *confirmation) gain(ctx context.Context, set llama.Seam) (float64, error) {
	gains, err := c.gains(ctx, set)
	if err != nil {
		return 0, err
	}
	return total(gains[0]), nil
}

// gainOf is gain of sets that are called that, which are asked for once.
func (c *confirmation) gainOf(ctx context.Context, name string, set llama.Seam) (float64, error) {
	if g, ok := c.known[name]; ok {
		return g, nil
	}
	g, err := c.gain(ctx, set)
	if err == nil {
		c.known[name] = g
	}
	return g, err
}

// after returns what was gained by so many of the judged tokens, or all of them where there are fewer.
func after(gains []float64, tokens int) float64 {
	if n := min(tokens, len(gains)); n > 0 {
		return gains[n-1]
	}
	return 0
}

// total returns what was gained by all of them.
func total(gains []float64) float64 { return after(gains, len(gains)) }

// least returns by how much a set makes its own prompts likelier after each of gateLengths, but for gateOwnTail of them, where there
// are enough to tell, and at most gateGain; 0 where it may as well make them less likely.
func (c *confirmation) least(ctx context.Context, set *peer.Set) (limits [len(gateLengths)]float64, err error) {
	if set.Fresh() == set.Experts() {
		return limits, nil
	}
	gains, err := c.of(ctx, set)
	if err != nil {
		return limits, err
	}
	lost := make([]float64, len(gains))
	for k, n := range gateLengths {
		for i, g := range gains {
			lost[i] = -after(g, n-1)
		}
		q, exact := retrieval.Conformal(lost, gateOwnTail)
		if !exact {
			q = slices.Max(lost)
		}
		limits[k] = min(max(0, -q), gateGain)
	}
	return limits, nil
}

// ask calls note with what a set gains of those prompts of whose verdicts it is wanted.
func (e *Engine) ask(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, prompts [][]int32, all []verdict, wanted func(v verdict) bool, note func(v *verdict, gains []float64)) error {
	c := &confirmation{e: e, b: b, r: r}
	var asked []*verdict
	for i, v := range all {
		if wanted(v) {
			c.prompts, asked = append(c.prompts, prompts[i]), append(asked, &all[i])
		}
	}
	if len(asked) == 0 {
		return nil
	}
	gains, err := c.of(ctx, set)
	if err != nil {
		return err
	}
	for i, v := range asked {
		note(v, gains[i])
	}
	return nil
}

// confirm notes in what a set's gate says of prompts by how much the set makes those likelier that pass otherwise.
func (e *Engine) confirm(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, gate *GateInfo, prompts [][]int32, all []verdict) error {
	return e.ask(ctx, b, r, set, prompts, all, func(v verdict) bool { return gate.passes(v) && gate.threshold(v.rows).Gain > 0 },
		func(v *verdict, gains []float64) { v.gain = total(gains) })
}

// unconfirmed notes which prompts of other text a set makes less likelier than it must, after each of gateLengths, of those that
// score as much as nearly all own ones.
func (e *Engine) unconfirmed(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, own, least [len(gateLengths)]float64, prompts [][]int32, all []verdict) error {
	return e.ask(ctx, b, r, set, prompts, all, func(v verdict) bool {
		for k, score := range v.after {
			if least[k] > 0 && score > own[k] {
				return true
			}
		}
		return false
	}, func(v *verdict, gains []float64) {
		for k, n := range gateLengths {
			v.vain[k] = after(gains, n-1) < least[k]
		}
	})
}
