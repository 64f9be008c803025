package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/internal/study"
)

// recipe is how to train.
type recipe struct {
	Name   string  `json:"name"`
	LoRA   bool    `json:"lora,omitempty"` // r = 16 on all linear projections
	Rate   float64 `json:"rate"`
	Passes float64 `json:"passes"`           // over the facts
	Spread int     `json:"spread,omitempty"` // of a set's experts
}

// recipes are tried on the facts for tuning.
var recipes = []recipe{
	{Name: "rate 2e-3", Rate: 2e-3, Passes: 10},
	{Name: "spread 2", Rate: 2e-3, Passes: 10, Spread: 2},
	{Name: "spread 4", Rate: 2e-3, Passes: 10, Spread: 4},
	{Name: "spread 2 and rate 4e-3", Rate: 4e-3, Passes: 10, Spread: 2},
	{Name: "LoRA rate 1e-3", LoRA: true, Rate: 1e-3, Passes: 10},
	{Name: "LoRA rate 2e-3", LoRA: true, Rate: 2e-3, Passes: 10},
}

// tried is what a recipe gave on the facts for tuning.
type tried struct {
	study.Trained
	On   recall `json:"on"`
	Auto recall `json:"auto,omitzero"` // a set's gate decides
}

func tryKey(r recipe) string { return fmt.Sprintf("tune/%s, %g passes", r.Name, r.Passes) }

// chosenKey is of the recipe by which the facts that are reported are learned: later tries do not change it.
func chosenKey(lora bool) string {
	return map[bool]string{false: "chosen/set", true: "chosen/lora"}[lora]
}

// try trains by a recipe on the facts for tuning and asks.
func (b *bench) try(ctx context.Context, r recipe, f *facts) error {
	_, err := study.Do(ctx, b.Study, tryKey(r), func() (t tried, err error) {
		if r.LoRA {
			res, err := b.trainLoRA(ctx, r, f, nil)
			if err != nil {
				return t, err
			}
			return tried{Trained: res.Trained, On: res.recall}, nil
		}
		e, err := b.Registry(ctx, "facts-tune")
		if err != nil {
			return t, err
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		if t.Trained, err = b.train(ctx, e, r, f); err != nil {
			return t, err
		}
		if t.On, err = b.ask(ctx, e, f, peft.GenerateOptions{Sets: []string{f.name}}); err != nil {
			return t, err
		}
		t.Auto, err = b.ask(ctx, e, f, peft.GenerateOptions{Auto: true})
		return t, err
	})
	return err
}

// best returns the recipe that answered most questions rightly, the first of those that did.
func (b *bench) best(lora bool) (best recipe, err error) {
	right := -1
	for _, r := range b.recipes {
		t, ok, err := study.Get[tried](b.Study, tryKey(r))
		if err != nil {
			return best, err
		}
		if ok && r.LoRA == lora && t.On.Right > right {
			best, right = r, t.On.Right
		}
	}
	if right < 0 {
		return best, errors.New("no recipe was tried")
	}
	return best, nil
}

// steps returns how many steps a recipe's passes are.
func (b *bench) steps(r recipe, f *facts) (int, []study.Record, error) {
	records, err := study.Records(b.tok, []string{f.file}, true)
	if err != nil {
		return 0, nil, err
	}
	rows := 0
	for _, x := range records {
		rows += len(x.Tokens) - 1
	}
	return max(1, int(r.Passes*float64(rows)/float64(b.Batch)+0.5)), records, nil
}

// train trains a set, which has the name of its facts.
func (b *bench) train(ctx context.Context, e *peft.Engine, r recipe, f *facts) (study.Trained, error) {
	steps, _, err := b.steps(r, f)
	if err != nil {
		return study.Trained{}, err
	}
	o := peft.FinetuneOptions{Data: []string{f.file}, Steps: steps, BatchTokens: b.Batch, LearningRate: r.Rate, Seed: b.Seed, ReportTokens: -1}
	o.Spread = r.Spread
	return study.Train(ctx, e, f.name, o)
}
