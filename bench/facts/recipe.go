package main

import (
	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/internal/study"
)

// recipe is a way to train a set, in what it differs from the defaults of peft finetune.
type recipe struct {
	Name   string
	Batch  int // tokens a step
	Rate   float64
	Spread int
	Full   bool    // an expert in every cell
	Quiet  float64 // see peft.FinetuneOptions
}

// recipes are those to choose from. All see the same tokens, and those of smaller batches take more steps.
var recipes = []recipe{
	{Name: "defaults", Batch: 1024, Rate: 2e-3},
	{Name: "batches of 256", Batch: 256, Rate: 2e-3},
	{Name: "batches of 256, rate 4e-3", Batch: 256, Rate: 4e-3},
	{Name: "batches of 256, spread 4", Batch: 256, Rate: 2e-3, Spread: 4},
	{Name: "batches of 256, spread 4, all cells", Batch: 256, Rate: 2e-3, Spread: 4, Full: true},
	{Name: "batches of 256, spread 4, not quiet", Batch: 256, Rate: 2e-3, Spread: 4, Quiet: -1},
}

// steps is how many of a recipe's are so many passes over a part.
func (b *bench) steps(p *part, batch int) int { return max(1, b.Passes*p.tokens/batch) }

// options train a set by a recipe. Nothing is held back, because every fact is there only once; so the gate is set on the
// wordings that are learned, and never on those that are asked.
func (b *bench) options(p *part, r recipe) peft.FinetuneOptions {
	o := peft.FinetuneOptions{Data: []string{p.file}, EvalData: []string{p.file}, Steps: b.steps(p, r.Batch), BatchTokens: r.Batch,
		LearningRate: r.Rate, Quiet: r.Quiet, Seed: b.Seed, ReportTokens: -1}
	o.Spread = r.Spread
	if r.Full {
		o.Occupancy = "full"
	}
	return o
}

// recipe returns that with the best recall on the facts to choose by, the first of equals.
func (b *bench) recipe() (best recipe, err error) {
	most := -1.0
	for _, r := range recipes {
		a, ok, err := study.Get[*answers](b.Study, key(b.tune, r, "asked"))
		if err != nil {
			return best, err
		}
		if ok && a.recall() > most {
			best, most = r, a.recall()
		}
	}
	return best, nil
}

func key(p *part, r recipe, what string) string { return p.name + "/" + r.Name + "/" + what }
