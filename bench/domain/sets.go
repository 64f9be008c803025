package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft"
)

// result is what one set reached.
type result struct {
	Base       string   `json:"base"`
	SubKeys    int      `json:"sub_keys"` // of each half
	Layers     int      `json:"layers"`
	Steps      int      `json:"steps"`
	TokensRate float64  `json:"tokens_per_second"` // of the median training step
	Texts      []change `json:"texts"`
}

// change is the perplexity of a text's held-out part without and with the set.
type change struct {
	Text   string  `json:"text"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// mean returns the mean change of the logarithms, as a share of the perplexity before.
func (r *result) mean() float64 {
	var sum float64
	for _, t := range r.Texts {
		sum += math.Log(t.After/t.Before) / float64(len(r.Texts))
	}
	return math.Expm1(sum)
}

// subKeys are those of the routers: 2^8 to 2^16 experts a layer.
var subKeys = []int{16, 32, 64, 128, 256}

// sets trains a set for every number of experts.
func (b *bench) sets(ctx context.Context) error {
	base := strings.TrimSuffix(filepath.Base(b.base), filepath.Ext(b.base))
	for _, n := range subKeys {
		unit := fmt.Sprintf("%s/%d", base, n)
		if _, ok := b.units.Done[unit]; !ok {
			if err := b.left.Take(ctx); err != nil {
				return err
			}
		}
		r, err := b.units.Do(unit, func() (result, error) { return b.train(ctx, base, n) })
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %+.1f %%\n", unit, 100*r.mean())
	}
	return nil
}

// train trains a set in a registry that it makes and removes again.
func (b *bench) train(ctx context.Context, base string, n int) (r result, err error) {
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
	i, err := e.Init(ctx, peft.InitOptions{Background: b.background, SubKeys: n, Seed: 1})
	if err != nil {
		return r, err
	}
	o := peft.FinetuneOptions{Steps: b.steps, Seed: 1, ReportTokens: -1, Placing: peft.Placing{Occupancy: "full"}}
	for _, t := range b.texts {
		o.Data = append(o.Data, t.learned)
	}
	t, err := e.Finetune(ctx, "domain", o)
	if err != nil {
		return r, err
	}
	r = result{Base: base, SubKeys: n, Layers: len(i.Blocks), Steps: b.steps, TokensRate: t.StepRate}
	for _, t := range b.texts {
		c := change{Text: t.name}
		for sets, to := range map[string]*float64{"": &c.Before, "domain": &c.After} {
			o := peft.EvalOptions{Data: []string{t.measured}, SeqLen: 256, MaxWindows: b.windows}
			if sets != "" {
				o.Sets = []string{sets}
			}
			m, err := e.Evaluate(ctx, o)
			if err != nil {
				return r, fmt.Errorf("measure %s: %w", t.name, err)
			}
			*to = m.Perplexity
		}
		r.Texts = append(r.Texts, c)
	}
	return r, nil
}
