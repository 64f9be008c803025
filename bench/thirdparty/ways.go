package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/record"
)

// result is what one way of importing the adapter gave.
type result struct {
	Base    string   `json:"base"`
	Order   int      `json:"order"` // among the ways
	Way     string   `json:"way"`
	Layers  int      `json:"layers"` // of the adapter
	Steps   int      `json:"steps"`  // of training it
	Experts int      `json:"experts"`
	Texts   []change `json:"texts"` // the own one first
}

// change is a text's perplexity without the set, with it on, and where its gate decides.
type change struct {
	Text  string  `json:"text"`
	Off   float64 `json:"off"`
	On    float64 `json:"on"`
	Auto  float64 `json:"auto"`  // as off where the set has no gate
	Fired float64 `json:"fired"` // share of the windows that the gate takes for the set's own
	Same  bool    `json:"same"`  // whether auto gives the base's logits, to the bit
}

// way is a way to import the adapter.
type way struct {
	name    string
	routed  bool
	sampled bool
	cover   float64
}

var allWays = []way{
	{"always on", false, true, 0},
	{"in cells for 0.99", true, true, 0.99},
	{"in cells for 0.9", true, true, 0.9},
	{"in cells for 0.5", true, true, 0.5},
	{"without a sample, 0.9", true, false, 0.9},
}

// ways measures each.
func (b *bench) ways(ctx context.Context) (err error) {
	base := strings.TrimSuffix(filepath.Base(b.base), filepath.Ext(b.base))
	adapter := filepath.Join(b.work, base+"-adapter")
	e, err := peft.Open(peft.Options{Registry: filepath.Join(b.work, base+"-registry"), Base: b.base, Threads: b.threads, Progress: record.Progress(base, 10*time.Second)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, err := e.Init(ctx, peft.InitOptions{Background: b.background, Seed: 1}); err != nil && !errors.Is(err, peft.ErrRouterExists) {
		return err
	}
	if _, err := os.Stat(adapter); errors.Is(err, os.ErrNotExist) {
		if err := b.adapter(ctx, e, adapter); err != nil {
			return err
		}
	}
	for i, w := range allWays {
		unit := base + "/" + w.name
		if _, ok := b.units.Done[unit]; !ok {
			if err := b.left.Take(ctx); err != nil {
				return err
			}
		}
		r, err := b.units.Do(unit, func() (result, error) { return b.measure(ctx, e, w, adapter) })
		if err != nil {
			return err
		}
		r.Base, r.Order = base, i
		b.units.Done[unit] = r
		fmt.Fprintf(os.Stderr, "%s: %+v\n", unit, r.Texts)
	}
	return b.units.Write(filepath.Join(b.work, "thirdparty.json"))
}

// adapter trains a LoRA, writes it as another program would have, and forgets it.
func (b *bench) adapter(ctx context.Context, e *peft.Engine, out string) error {
	const name = "adapter"
	o := peft.FinetuneOptions{Data: []string{b.learned}, Steps: b.steps, Seed: 1, ReportTokens: -1, Quiet: -1, Adapter: peft.Adapter{Kind: "lora", Targets: []string{"all-linear"}}}
	if _, err := e.Finetune(ctx, name, o); err != nil {
		return err
	}
	_, err := e.ExportAs(name, out, peft.FormatHF)
	return errors.Join(err, e.Remove(ctx, name))
}

// measure imports the adapter in one way, measures it and removes it.
func (b *bench) measure(ctx context.Context, e *peft.Engine, w way, adapter string) (r result, err error) {
	o := peft.AddOptions{From: adapter, Adapter: peft.Adapter{Routed: w.routed}, Cover: w.cover, ReportTokens: -1}
	if w.sampled {
		o.Data = []string{b.sample}
	}
	const name = "imported"
	if _, err := e.AddExperts(ctx, name, o); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, e.Remove(ctx, name)) }()
	info, err := e.Show(name)
	if err != nil {
		return r, err
	}
	r = result{Way: w.name, Steps: b.steps, Experts: info.Experts, Layers: len(info.Layers)}
	for _, t := range b.texts {
		c := change{Text: t.name}
		m := peft.EvalOptions{Data: []string{t.file}, SeqLen: 256, MaxWindows: b.windows}
		off, err := e.Evaluate(ctx, m)
		if err != nil {
			return r, err
		}
		m.Sets = []string{name}
		on, err := e.Evaluate(ctx, m)
		if err != nil {
			return r, err
		}
		auto := off
		if m.Auto = info.Gate != nil; m.Auto {
			if auto, err = e.Evaluate(ctx, m); err != nil {
				return r, err
			}
			for _, f := range auto.Fired {
				c.Fired += f.Share
			}
		}
		c.Off, c.On, c.Auto, c.Same = off.Perplexity, on.Perplexity, auto.Perplexity, auto.LogitsSHA256 == off.LogitsSHA256
		r.Texts = append(r.Texts, c)
	}
	return r, nil
}
