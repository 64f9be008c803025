package peft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/retrieval"
)

// How gates are set.
const (
	gateTokens  = 64   // of a prompt, for setting thresholds and of windows that are measured
	gateJudged  = 128  // most tokens of a prompt that are judged: the last ones
	gateAlpha   = 0.01 // share of others' sequences that may fire
	gateMargin  = 0.9  // of the way from what others reach to what nearly all own sequences reach
	gateOwnRate = 0.9  // share of own sequences below which people are warned
	gateOwnTail = 0.05 // share of own sequences not counted among nearly all
	gateGain    = 20   // most nats by which a set must make a prompt likelier: of what the base writes so much happens to 2 in 10⁹
	gateAside   = 0.08 // most of background and passages that may be left out, because they look like own text
	gatePrompts = 200  // prompts of one text, half of them for setting a threshold, half for measuring it
	gateSamples = 64   // prompts of the own text, and of the background, that a gate is made from
	olderNear   = 8    // older sets that a gate tells its own text apart from, those whose gates come nearest to firing on it
	olderSample = 512  // samples of those together, likewise
	olderTexts  = 32   // older sets on whose text thresholds are set, likewise the nearest: adding a set takes as long however many there are
	olderBudget = 512  // prompts of those together
	olderProbes = 16   // samples of the own text by which the nearest are found
)

// gateLengths are the numbers of tokens for which gates have thresholds: a short prompt says less, so more is asked of it.
// Of fewer than the first nothing fires.
var gateLengths = [...]int{8, 16, 32, 64}

// judge returns what the gate says of prompts.
func (g *storedGate) judge(prompts []judgedPrompt) []verdict {
	all := make([]verdict, len(prompts))
	for i, p := range prompts {
		all[i] = verdict{rows: p.rows, score: g.Score(p.all), distance: g.Distance(p.all)}
		for k, s := range p.after {
			all[i].after[k] = g.Score(s)
		}
	}
	return all
}

// farthest returns how far from a set's samples its own prompts lie after each of gateLengths, but for gateOwnTail of them,
// where there are enough to tell.
func (g *storedGate) farthest(own []judgedPrompt) (limits [len(gateLengths)]float64) {
	v := make([]float64, len(own))
	for k := range limits {
		for i, p := range own {
			v[i] = g.Distance(p.after[k])
		}
		var exact bool
		if limits[k], exact = retrieval.Conformal(v, gateOwnTail); !exact {
			limits[k] = slices.Max(v)
		}
	}
	return limits
}

// passesOn reports whether a prompt of so many judged rows, which select this, passes the gate's score and distance.
func (g *storedGate) passesOn(s peer.Sample, rows int) bool {
	t := g.info.threshold(rows)
	return !math.IsInf(t.Score, 1) && g.Above(s, t.Score) && (t.Distance == 0 || !t.excludes(g.Distance(s)))
}

// otherText is a text that a set is to be told apart from.
type otherText struct {
	name  string
	guess bool      // nobody says that none of it is the set's own kind of text
	set   [][]int32 // prompts that set thresholds
	test  [][]int32 // and others that measure them
}

// newOther takes every second prompt to set thresholds by, and the others to measure them.
func newOther(name string, prompts [][]int32) otherText {
	o := otherText{name: name}
	o.set, o.test = halves(prompts)
	return o
}

// newForeign divides texts of many kinds: a half makes gates, a quarter sets thresholds, a quarter measures them.
func newForeign(name string, texts [][]int32) (o otherText, made [][]int32) {
	made, rest := halves(texts)
	o = newOther(name, rest)
	o.guess = true
	return o, made
}

// makeGate sets the gate of a set: made from counts of its own data, see peer.NewGate, and held-out sequences of it,
// against the background, the passages, the questions and those other sets of the registry that come nearest to it.
func (e *Engine) makeGate(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, sel selections, held []tune.Sequence) (*storedGate, error) {
	own := newOther("own", prompts(held, gatePrompts))
	if len(own.test) == 0 {
		return nil, fmt.Errorf("%d held-out sequences, want at least 2: %w", len(own.set), tune.ErrData)
	}
	older, near, texts, err := e.olderSets(b, r, set.Name, sel.samples)
	if err != nil {
		return nil, err
	}
	others, err := e.strangers(ctx, b, r)
	if err != nil {
		return nil, err
	}
	against := slices.Clone(others.made)
	for _, o := range near {
		against = append(against, o.samples(olderSample/len(near)))
	}
	g := &storedGate{name: set.Name, info: &GateInfo{Alpha: gateAlpha, Margin: gateMargin}}
	g.Gate, err = peer.NewGate(r.Router, sel.counts, sel.samples, against...)
	if errors.Is(err, peer.ErrFewSamples) {
		return nil, fmt.Errorf("%w: %w", tune.ErrData, err)
	}
	if err != nil {
		return nil, err
	}
	g.info.Blocks = g.Gate.Blocks
	all := slices.Concat(own.set, own.test)
	mine, err := e.read(ctx, b, r, "judge own", all)
	if err != nil {
		return nil, err
	}
	least, err := (&confirmation{e: e, b: b, r: r, prompts: own.set}).least(ctx, set)
	if err != nil {
		return nil, err
	}
	var scores []scored
	for i, t := range others.texts {
		scores = append(scores, g.scored(t, others.read[i]))
	}
	for _, t := range texts {
		read, err := e.readOnce(ctx, b, r, "judge "+t.name, slices.Concat(t.set, t.test))
		if err != nil {
			return nil, err
		}
		scores = append(scores, g.scored(t, read))
	}
	judged := g.scored(own, mine)
	tail := tails(judged.set)
	for _, t := range scores {
		if err := e.unconfirmed(ctx, b, r, set, tail, least, t.otherText.set, t.set); err != nil {
			return nil, err
		}
	}
	g.info.setBy(judged, g.farthest(mine[:len(own.set)]), least, scores)
	for _, t := range append(scores, judged) {
		if err := e.confirm(ctx, b, r, set, g.info, t.otherText.test, t.test); err != nil {
			return nil, err
		}
	}
	g.info.measure(judged, scores)
	g.info.Older, err = e.firedByOlder(ctx, b, r, older, all, mine)
	return g, err
}

// firedByOlder returns how often the gates of older sets fire on a new one's prompts.
func (e *Engine) firedByOlder(ctx context.Context, b *base.Base, r *storedRouter, older []*storedGate, prompts [][]int32, read []judgedPrompt) (rates []FireRate, err error) {
	s := e.reg.Snapshot()
	defer s.Close()
	for _, o := range older {
		var some [][]int32
		var passing []judgedPrompt
		for i, p := range read {
			if o.passesOn(p.all, p.rows) {
				some, passing = append(some, prompts[i]), append(passing, p)
			}
		}
		rate := FireRate{Text: o.ref, Sequences: len(read)}
		if len(some) > 0 {
			set, err := e.loadSet(s, r.Router, o.ref)
			if err != nil {
				return nil, err
			}
			judged := o.judge(passing)
			if err := e.confirm(ctx, b, r, set, o.info, some, judged); err != nil {
				return nil, err
			}
			rate.Fired = o.info.rate("", judged).Fired
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

// scored is a text with what one gate says of its prompts.
type scored struct {
	otherText
	set, test []verdict
}

// scored judges a text of which these are the prompts that set thresholds, then those that measure them.
func (g *storedGate) scored(t otherText, read []judgedPrompt) scored {
	v := g.judge(read)
	return scored{t, v[:len(t.set)], v[len(t.set):]}
}

// setBy finds the thresholds. Sequences of texts that nobody called foreign are left out where they score
// as nine tenths of the own ones do, but no more than gateAside of them: a set of arithmetic is not to be kept from its own
// text by the background's arithmetic. What is left of these texts makes one sample, each other text one of its own; the
// threshold lies above the quantile of each. A text of another kind than all of them is kept out by how far the own text lies from
// the samples at each of gateLengths, and by what the set gains of it at least.
func (i *GateInfo) setBy(own scored, far, least [len(gateLengths)]float64, texts []scored) {
	i.OwnSetOn, i.Thresholds, i.Negatives = len(own.set), nil, nil
	tail := tails(own.set)
	for k, n := range gateLengths {
		have := scoresAt(own.set, k)
		like, _ := retrieval.Conformal(have, 0.9)
		guess := Negatives{Text: "background, passages and questions"}
		var pooled []float64
		samples := []Negatives{}
		most := math.Inf(-1)
		for _, t := range texts {
			v := scoresAt(t.set, k)
			if !t.guess {
				neg := Negatives{Text: t.name, Sequences: len(v)}
				neg.Quantile, neg.Exact = retrieval.Conformal(v, i.Alpha)
				samples = append(samples, neg)
				continue
			}
			pooled = append(pooled, v...)
		}
		slices.Sort(pooled)
		for limit := int(gateAside * float64(len(pooled))); guess.Aside < limit && pooled[len(pooled)-1] > like; guess.Aside++ {
			pooled = pooled[:len(pooled)-1]
		}
		guess.Sequences = len(pooled)
		guess.Quantile, guess.Exact = retrieval.Conformal(pooled, i.Alpha)
		samples = append([]Negatives{guess}, samples...)
		for _, s := range samples {
			if s.Sequences > 0 {
				most = max(most, s.Quantile)
			}
		}
		if math.IsInf(most, -1) { // all others look like the own text: then only the surest are called own
			most = like
		}
		i.Thresholds = append(i.Thresholds, Threshold{n - 1, most + i.Margin*max(0, tail[k]-most), far[k], least[k]})
		if n == gateTokens {
			i.Negatives = slices.DeleteFunc(samples, func(s Negatives) bool { return s.Sequences+s.Aside == 0 })
			for k := range i.Negatives {
				if i.Negatives[k].Sequences == 0 {
					i.Negatives[k].Quantile = 0 // JSON has no infinity
				}
			}
		}
	}
}

// measure notes how often the gate fires on text that set nothing.
func (i *GateInfo) measure(own scored, texts []scored) {
	i.Own = i.rate("own", own.test)
	i.Others = nil
	for _, t := range texts {
		i.Others = append(i.Others, i.rate(t.name, t.test))
	}
}

func (i *GateInfo) rate(name string, prompts []verdict) FireRate {
	f := FireRate{Text: name, Sequences: len(prompts)}
	for _, v := range prompts {
		if i.fires(v) {
			f.Fired++
		}
	}
	return f
}

func halves[T any](all []T) (even, odd []T) {
	for i, x := range all {
		if i%2 == 0 {
			even = append(even, x)
		} else {
			odd = append(odd, x)
		}
	}
	return even, odd
}

// scoresAt returns the scores of prompts at one of gateLengths, by its place. Those that the set does not make likelier enough do not
// fire whatever they score: they count as the least.
func scoresAt(prompts []verdict, length int) []float64 {
	v, least := make([]float64, len(prompts)), math.Inf(1)
	for i, p := range prompts {
		v[i] = p.after[length]
		least = min(least, v[i])
	}
	for i, p := range prompts {
		if p.vain[length] {
			v[i] = least
		}
	}
	return v
}

// tails returns what nearly all of the own sequences score at each of gateLengths.
func tails(own []verdict) (scores [len(gateLengths)]float64) {
	for k := range scores {
		scores[k], _ = retrieval.Conformal(scoresAt(own, k), 1-gateOwnTail)
	}
	return scores
}

// olderSets returns the gates of the sets that the registry holds for this router, without name, which of them are nearest to
// samples of a text, and the held-out text of some more of the nearest.
func (e *Engine) olderSets(b *base.Base, r *storedRouter, name string, own []peer.Sample) (all, near []*storedGate, texts []otherText, err error) {
	s := e.reg.Snapshot()
	defer s.Close()
	known, err := e.storedGates(s, r, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	all = slices.DeleteFunc(slices.Clone(known), func(g *storedGate) bool { return g.name == name })
	measured := nearest(all, own, olderTexts)
	for _, g := range measured {
		m, err := findSet(s, g.name)
		if err != nil {
			return nil, nil, nil, err
		}
		held, err := readHeld(s, m, b.Model.Config.Vocab)
		if err != nil {
			return nil, nil, nil, err
		}
		texts = append(texts, newOther(g.ref, prompts(held, min(gatePrompts, olderBudget/len(measured)))))
	}
	return all, nearest(measured, own, olderNear), texts, nil
}

// nearest returns, in their order, the gates that come nearest to firing on samples, at most so many.
func nearest(gates []*storedGate, samples []peer.Sample, most int) []*storedGate {
	if len(gates) <= most {
		return gates
	}
	samples = evenly(samples, olderProbes)
	above := make(map[*storedGate]float64, len(gates))
	for _, g := range gates {
		for _, s := range samples {
			above[g] += (g.Score(s) - g.info.threshold(gateTokens).Score) / float64(len(samples))
		}
	}
	near := slices.Clone(gates)
	slices.SortStableFunc(near, func(a, b *storedGate) int { return cmp.Compare(above[b], above[a]) })
	in := map[*storedGate]bool{}
	for _, g := range near[:most] {
		in[g] = true
	}
	return slices.DeleteFunc(slices.Clone(gates), func(g *storedGate) bool { return !in[g] })
}
