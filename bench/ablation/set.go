package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/retrieval"
)

// result is what a row showed.
type result struct {
	Base       string             `json:"base"`
	Background string             `json:"background,omitempty"` // text that the router was made from
	Group      string             `json:"group"`
	Row        string             `json:"row"`
	Steps      int                `json:"steps"`
	Seed       uint64             `json:"seed"`
	Experts    int                `json:"experts,omitempty"`    // of all layers
	Selections int                `json:"selections,omitempty"` // of cells, a token and layer
	Layers     int                `json:"layers,omitempty"`
	StepRate   float64            `json:"tokens_per_second,omitempty"` // trained, of the median step
	Perplexity map[string]float64 `json:"perplexity,omitempty"`        // by text and the sets that are on, see measured
	Fires      []fires            `json:"fires,omitempty"`
}

// measured names a perplexity.
func measured(text, sets string) string { return text + ": " + sets }

// What is on.
const (
	none    = "none"
	alone   = "set"
	earlier = "earlier"
	sum     = "set, earlier"
	union   = "half of set, half of earlier"
)

// on says which sets those are.
var on = map[string][]string{none: nil, alone: {"set"}, earlier: {"earlier"}, sum: {"set", "earlier"}, union: {"set*0.5", "earlier*0.5"}}

// set trains a row's set and measures it.
func (b *bench) set(ctx context.Context, r row) (result, error) {
	res := result{Base: b.name, Background: filepath.Base(b.background), Group: r.group, Row: r.name, Steps: b.steps, Seed: b.seed, Perplexity: map[string]float64{}}
	router, err := b.router(ctx, r)
	if err != nil {
		return res, err
	}
	before := ""
	if r.both {
		if before, err = b.earlierSet(ctx, router, r); err != nil {
			return res, err
		}
	}
	return res, b.copied(router, func(e *peft.Engine) error {
		if r.both {
			if _, err := e.AddExperts(ctx, earlier, peft.AddOptions{From: before, ReportTokens: -1}); err != nil {
				return err
			}
		}
		if err := b.train(ctx, e, "set", "own", r, &res); err != nil {
			return err
		}
		texts, sets := []string{"own", "other"}, []string{none, alone}
		if r.both {
			texts, sets = append(texts, "earlier"), append(sets, earlier, sum)
		}
		if r.both && r.place.Occupancy == string(retrieval.Full) {
			sets = append(sets, union)
		}
		for _, text := range texts {
			for _, s := range sets {
				m, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{b.texts[text]}, Sets: on[s], SeqLen: 256, MaxWindows: b.windows})
				if err != nil {
					return err
				}
				res.Perplexity[measured(text, s)] = m.Perplexity
			}
		}
		return nil
	})
}

// train trains a set on one of the texts.
func (b *bench) train(ctx context.Context, e *peft.Engine, name, text string, r row, res *result) error {
	o := peft.FinetuneOptions{Data: []string{b.texts[text+"-train"]}, EvalData: []string{b.texts[text]}, Steps: b.steps, Seed: b.seed, LearningRate: r.rate, ReportTokens: -1, Placing: r.place, NoAim: r.noAim, Quiet: r.quiet}
	if r.with && name != earlier {
		o.With = []string{earlier}
	}
	m, err := e.Base()
	if err != nil {
		return err
	}
	c := retrieval.DefaultConfig(m.Model.Config.Hidden)
	blocks := r.blocks(m.Model.Config.Layers)
	n := cmp.Or(r.router.SubKeys, c.SubKeys)
	if r.place.Occupancy != string(retrieval.Full) {
		o.Experts = blocks * n * n / 2
	}
	f, err := e.Finetune(ctx, name, o)
	if err != nil {
		return err
	}
	s, err := e.Show(name)
	if err != nil {
		return err
	}
	res.Experts, res.Layers, res.StepRate = s.Experts, blocks, f.StepRate
	res.Selections = cmp.Or(r.router.Heads, c.Heads) * cmp.Or(r.router.TopK, c.TopK)
	return nil
}

// blocks returns how many of a base's layers have a router.
func (r row) blocks(layers int) int {
	if r.layers == nil {
		return len(retrieval.DefaultBlocks(layers))
	}
	return len(r.layers(layers))
}

// open opens a registry of its own.
func (b *bench) open(registry string) (*peft.Engine, error) {
	return peft.Open(peft.Options{Registry: registry, Base: b.ref, Threads: b.threads})
}

// router makes a row's router, which all rows with the same one share, and returns its registry.
func (b *bench) router(ctx context.Context, r row) (string, error) {
	tmp := filepath.Join(b.work, "making")
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	e, err := b.open(tmp)
	if err != nil {
		return "", err
	}
	o := r.router
	o.Seed, o.Background = b.seed, b.background
	m, err := e.Base()
	if err == nil && r.layers != nil {
		o.Layers = r.layers(m.Model.Config.Layers)
	}
	key, keyErr := json.Marshal(o)
	sum := sha256.Sum256(key)
	dir := filepath.Join(b.work, fmt.Sprintf("router-%s-%x", b.name, sum[:6]))
	_, statErr := os.Stat(dir)
	if err = errors.Join(err, keyErr); err == nil && statErr != nil {
		_, err = e.Init(ctx, o)
	}
	if err = errors.Join(err, e.Close()); err != nil || statErr == nil {
		return dir, err
	}
	return dir, os.Rename(tmp, dir)
}

// copied opens a fresh copy of a registry, runs f, and removes the copy.
func (b *bench) copied(router string, f func(e *peft.Engine) error) error {
	dir := filepath.Join(b.work, "registry")
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(router))); err != nil {
		return err
	}
	e, err := b.open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close(), os.RemoveAll(dir))
}

// earlierSet trains the earlier set, where it is not there, placed as the row's, and returns the file that holds it.
func (b *bench) earlierSet(ctx context.Context, router string, r row) (string, error) {
	file := fmt.Sprintf("%s-%d-%s.peft", router, b.steps, cmp.Or(r.place.Occupancy, string(retrieval.Default)))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, b.copied(router, func(e *peft.Engine) error {
		if err := b.train(ctx, e, earlier, "earlier", r, &result{}); err != nil {
			return err
		}
		_, err := e.Export(earlier, file)
		return err
	})
}
