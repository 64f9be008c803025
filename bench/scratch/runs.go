package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gopeft/peft/adapters/pretrain"
	"github.com/gopeft/peft/bench/record"
)

// result is one model after training.
type result struct {
	Seed      uint64             `json:"seed"`
	Tuning    bool               `json:"tuning,omitempty"` // measured on the split by which rates are chosen
	Shape     pretrain.Shape     `json:"shape"`
	Optimizer pretrain.Optimizer `json:"optimizer"`
	pretrain.Result
	Curve []point `json:"curve"`
}

// point is the held-out perplexity after so many tokens; before the last, of a part of the held-out text.
type point struct {
	Tokens     int     `json:"tokens"`
	Perplexity float64 `json:"perplexity"`
}

// What a step trains on, and what is measured: at the end, and between at as many points.
const batchTokens, finalTokens, curvePoints, betweenTokens = 1024, 40_000, 5, 4096

// setting is a model to train.
type setting struct {
	shape     pretrain.Shape
	optimizer pretrain.Optimizer
	seed      uint64
	steps     int
	tune      bool
}

// train returns the unit's result, training the model when there is none yet.
func (b *bench) train(ctx context.Context, name string, s setting) (result, error) {
	if _, ok := b.units.Done[name]; !ok {
		if err := b.left.Take(ctx); err != nil {
			return result{}, err
		}
	}
	return b.units.Do(name, func() (result, error) {
		text, err := b.text(s.tune)
		if err != nil {
			return result{}, err
		}
		o := pretrain.Defaults()
		o.Shape, o.Text, o.Optimizer, o.Seed, o.Steps, o.BatchTokens, o.Threads = s.shape, text, s.optimizer, s.seed, s.steps, batchTokens, b.threads
		o.Optimizer.Warmup, o.Optimizer.Decay = min(o.Optimizer.Warmup, max(1, s.steps/10)), max(1, s.steps/3)
		o.EvalEvery, o.EvalTokens, o.FinalTokens = max(1, (s.steps+curvePoints-1)/curvePoints), betweenTokens, finalTokens
		r := result{Seed: s.seed, Tuning: s.tune, Shape: s.shape, Optimizer: o.Optimizer}
		o.Checkpoint, o.CheckpointEvery = filepath.Join(b.work, fileName(name)), 0 // written when it is interrupted
		r.Result, err = pretrain.Run(ctx, o, "", func(p pretrain.Progress) {
			if p.Perplexity > 0 {
				r.Curve = append(r.Curve, point{Tokens: p.Step * o.BatchTokens, Perplexity: p.Perplexity})
			}
		})
		if err != nil {
			return r, err
		}
		if err := os.Remove(o.Checkpoint); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		r.Curve = append(r.Curve, point{Tokens: r.SeenTokens, Perplexity: r.Perplexity})
		record.Logf("%s: perplexity %.3f after %d tokens, %.0f s", name, r.Perplexity, r.SeenTokens, r.Seconds)
		return r, nil
	})
}

func fileName(unit string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ,/", r) {
			return '-'
		}
		return r
	}, unit)
}

// text returns the split to tune on, or that to report on. What the latter measures is in neither part of the former.
func (b *bench) text(tune bool) (*pretrain.Text, error) {
	of, to := reportedOf, &b.reported
	docs := b.docs
	if tune {
		of, to = tunedOf, &b.tuned
		docs = slices.DeleteFunc(slices.Clone(docs), func(d pretrain.Document) bool { return pretrain.HeldOut(d, reportedOf) })
	}
	var err error
	if *to == nil {
		*to, err = pretrain.NewText(docs, of, shape.Vocab, nil)
	}
	return *to, err
}

// One document's name in so many is measured.
const reportedOf, tunedOf = 50, 49

func rateName(r float32) string { return strconv.FormatFloat(float64(r), 'g', 3, 32) }

func rateUnit(v variant, r rates, steps int) string {
	return fmt.Sprintf("rates/%d/%s/%s/%s", steps, v.name, rateName(r.Muon), rateName(r.AdamW))
}

func compareUnit(experiment, variant string, seed uint64) string {
	return fmt.Sprintf("%s/%s/%d", experiment, variant, seed)
}

// best returns the rates with the lowest perplexity on the tuning split after so many steps: AdamW's at the middle one of
// Muon's, then Muon's at that.
func (b *bench) best(ctx context.Context, v variant, steps int) (rates, error) {
	best, least := rates{Muon: v.muon[len(v.muon)/2]}, math.Inf(1)
	try := func(r rates) error {
		res, err := b.train(ctx, rateUnit(v, r, steps), b.setting(v, r, 1, steps, true))
		if err == nil && res.Perplexity < least {
			best, least = r, res.Perplexity
		}
		return err
	}
	for _, a := range v.adamw {
		if err := try(rates{best.Muon, a}); err != nil {
			return best, err
		}
	}
	for _, m := range v.muon {
		if err := try(rates{m, best.AdamW}); err != nil {
			return best, err
		}
	}
	return best, nil
}

func (b *bench) setting(v variant, r rates, seed uint64, steps int, tune bool) setting {
	return setting{shape: v.shape, optimizer: v.optimizer(r), seed: seed, steps: steps, tune: tune}
}

// sweepRates tries every variant's rates, at both lengths.
func (b *bench) sweepRates(ctx context.Context) error {
	for _, steps := range []int{b.steps, longer * b.steps} {
		for _, v := range b.variants {
			if _, err := b.best(ctx, v, steps); err != nil {
				return err
			}
		}
	}
	return nil
}

// tryRecipes trains PEER with one thing changed at a time.
func (b *bench) tryRecipes(ctx context.Context) error {
	p := b.variants[len(b.variants)-1]
	best, err := b.best(ctx, p, b.steps)
	if err != nil {
		return err
	}
	for _, r := range recipes() {
		s := b.setting(p, best, 1, b.steps, true)
		r.set(&s.shape.Instead, &s.optimizer)
		if _, err := b.train(ctx, "recipe/"+r.name, s); err != nil {
			return err
		}
	}
	return nil
}

// compare trains the variants at their best rates for so many steps.
func (b *bench) compare(ctx context.Context, name string, steps int, seeds []uint64) error {
	for _, seed := range seeds {
		for _, v := range b.variants {
			best, err := b.best(ctx, v, steps)
			if err != nil {
				return err
			}
			if _, err := b.train(ctx, compareUnit(name, v.name, seed), b.setting(v, best, seed, steps, false)); err != nil {
				return err
			}
		}
	}
	return nil
}

// subKeys are of the models that differ in the number of experts, in the order in which they are trained: ends and middle
// come first.
var subKeys = []int{32, 256, 1024, 64, 128, 512}

// moreExperts trains PEER with more and more experts, heads and k as they are, for a long training at the rates that were
// best with 4,096.
func (b *bench) moreExperts(ctx context.Context) error {
	p := b.variants[len(b.variants)-1]
	best, err := b.best(ctx, p, longer*b.steps)
	if err != nil {
		return err
	}
	for _, n := range subKeys {
		p.shape.Instead.SubKeys = n
		if _, err := b.train(ctx, expertsUnit(n), b.setting(p, best, 1, longer*b.steps, false)); err != nil {
			return err
		}
	}
	return nil
}

func expertsUnit(subKeys int) string { return fmt.Sprintf("experts/%d", subKeys) }
