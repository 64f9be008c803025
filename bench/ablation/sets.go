package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/gopeft/peft"
)

// result is what one unit measured.
type result struct {
	Steps      int     `json:"steps"`
	Experts    int     `json:"experts,omitempty"` // over all layers
	Layers     int     `json:"layers,omitempty"`
	Router     float64 `json:"router_seconds,omitempty"`
	TokensRate float64 `json:"tokens_per_second,omitempty"` // of the median training step
	Figures    []ppl   `json:"perplexities,omitempty"`
	Gate       *gate   `json:"gate,omitempty"`
}

// ppl is the perplexity of a text.
type ppl struct {
	Text       string  `json:"text"` // a, b or w
	Sets       string  `json:"sets"` // that are on, joined by +; empty for none
	Perplexity float64 `json:"perplexity"`
}

// on returns the perplexity of a text with those sets on.
func (r *result) on(text, sets string) float64 {
	for _, p := range r.Figures {
		if p.Text == text && p.Sets == sets {
			return p.Perplexity
		}
	}
	return 0
}

// ablation is a set that differs from the default.
type ablation struct {
	what, name string
	router     peft.InitOptions
	tune       peft.FinetuneOptions
	half       bool // whether half of the cells get an expert
}

// ablations are those of one set. blocks: how many the base has.
func ablations(blocks int) []ablation {
	all := make([]int, blocks)
	for i := range all {
		all[i] = i
	}
	placed := func(o string) peft.FinetuneOptions { return peft.FinetuneOptions{Placing: peft.Placing{Occupancy: o}} }
	return []ablation{
		{what: "default: every second block, 16 × 16 cells, 4 heads, k = 16", name: "default"},
		{what: "k", name: "4", router: peft.InitOptions{TopK: 4}},
		{what: "k", name: "8", router: peft.InitOptions{TopK: 8}},
		{what: "k", name: "32", router: peft.InitOptions{TopK: 32}},
		{what: "heads", name: "1", router: peft.InitOptions{Heads: 1}},
		{what: "heads", name: "2", router: peft.InitOptions{Heads: 2}},
		{what: "heads", name: "8", router: peft.InitOptions{Heads: 8}},
		{what: "blocks", name: "the middle one", router: peft.InitOptions{Layers: []int{blocks / 2}}},
		{what: "blocks", name: "all", router: peft.InitOptions{Layers: all}},
		{what: "cells", name: "8 × 8", router: peft.InitOptions{SubKeys: 8}},
		{what: "cells", name: "32 × 32", router: peft.InitOptions{SubKeys: 32}},
		{what: "cells", name: "64 × 64", router: peft.InitOptions{SubKeys: 64}},
		{what: "half of the cells by", name: "count", tune: placed("count"), half: true},
		{what: "half of the cells by", name: "tfidf", tune: placed("tfidf"), half: true},
		{what: "half of the cells by", name: "ratio", tune: placed("ratio"), half: true},
		{what: "router", name: "trained", router: peft.InitOptions{Train: true}},
		{what: "penalty on background", name: "none", tune: peft.FinetuneOptions{Quiet: -1}},
	}
}

// sets trains a set of A in every way.
func (b *bench) sets(ctx context.Context) error {
	blocks, err := b.blocks()
	if err != nil {
		return err
	}
	for _, a := range ablations(blocks) {
		if _, err := b.do("sets", a.what+"/"+a.name, func() (result, error) {
			return b.registry(ctx, a.router, func(s *session) error {
				o := a.tune
				if a.half {
					o.Experts = s.layers * s.cells / 2
				}
				if err := s.train("a", o, "a-train"); err != nil {
					return err
				}
				return s.measure([]string{"a", "w"}, "", "a")
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// pairs trains a set of B after one of A: alone, with A's on, and with it on in every second step.
func (b *bench) pairs(ctx context.Context) error {
	for _, p := range []struct {
		name string
		b    peft.FinetuneOptions
	}{
		{"alone", peft.FinetuneOptions{}},
		{"with the first on", peft.FinetuneOptions{With: []string{"a"}}},
		{"with the first on in every second step", peft.FinetuneOptions{With: []string{"a"}, Alternate: true}},
	} {
		if _, err := b.do("pairs", p.name, func() (result, error) {
			return b.registry(ctx, peft.InitOptions{}, func(s *session) error {
				full := peft.Placing{Occupancy: "full"}
				p.b.Placing = full
				if err := s.train("a", peft.FinetuneOptions{Placing: full}, "a-train"); err != nil {
					return err
				}
				if err := s.train("b", p.b, "b-train"); err != nil {
					return err
				}
				// With an expert of both sets in every cell, a softmax over all experts of the selected cells is half of
				// each set's gates.
				return s.measure([]string{"a", "b", "w"}, "", "a", "b", "a+b", "a*0.5+b*0.5")
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// experts trains sets of all three texts with more and more experts a layer, in three times as many steps.
func (b *bench) experts(ctx context.Context) error {
	for n := 4; n <= 256; n *= 2 {
		if _, err := b.do("experts", fmt.Sprint(n), func() (result, error) {
			return b.registry(ctx, peft.InitOptions{SubKeys: n}, func(s *session) error {
				o := peft.FinetuneOptions{Steps: 3 * b.steps, Placing: peft.Placing{Occupancy: "full"}}
				if err := s.train("a", o, "a-train", "b-train", "w-train"); err != nil {
					return err
				}
				return s.measure([]string{"a", "b", "w"}, "", "a")
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// session is a registry in which one unit is measured.
type session struct {
	*bench
	ctx           context.Context
	e             *peft.Engine
	layers, cells int
	result
}

// registry measures a unit in a registry that it makes and removes again.
func (b *bench) registry(ctx context.Context, o peft.InitOptions, measure func(*session) error) (r result, err error) {
	dir, err := os.MkdirTemp(b.work, "registry-*")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e, err := peft.Open(peft.Options{Registry: dir, Base: b.base, Threads: b.threads})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	o.Background, o.Seed, o.Steps = b.background, 1, b.steps
	start := time.Now()
	i, err := e.Init(ctx, o)
	if err != nil {
		return r, err
	}
	s := &session{bench: b, ctx: ctx, e: e, layers: len(i.Blocks), cells: i.Cells}
	s.Router, s.Layers = time.Since(start).Seconds(), s.layers
	err = measure(s)
	return s.result, err
}

// train trains one set.
func (s *session) train(name string, o peft.FinetuneOptions, parts ...string) error {
	for _, p := range parts {
		o.Data = append(o.Data, s.texts[p])
	}
	o.Seed, o.ReportTokens = 1, -1
	if o.Steps == 0 {
		o.Steps = s.steps
	}
	r, err := s.e.Finetune(s.ctx, name, o)
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	info, err := s.e.Show(name)
	if err != nil {
		return err
	}
	s.TokensRate, s.Experts = r.StepRate, info.Experts
	return nil
}

// measure evaluates each text with each of the sets on, given joined by +.
func (s *session) measure(texts []string, sets ...string) error {
	for _, text := range texts {
		for _, on := range sets {
			o := peft.EvalOptions{Data: []string{s.texts[text]}, SeqLen: 256, MaxWindows: s.windows}
			if on != "" {
				o.Sets = strings.Split(on, "+")
			}
			r, err := s.e.Evaluate(s.ctx, o)
			if err != nil {
				return fmt.Errorf("measure %s with %s: %w", text, on, err)
			}
			s.Figures = append(s.Figures, ppl{text, on, r.Perplexity})
		}
	}
	return nil
}

// meanChange returns by how much the perplexities of texts change with the set on, by the mean of their logarithms.
func (r *result) meanChange(texts []string) string {
	var sum float64
	for _, t := range texts {
		sum += math.Log(r.on(t, "a")/r.on(t, "")) / float64(len(texts))
	}
	return fmt.Sprintf("%+.1f %%", 100*math.Expm1(sum))
}
