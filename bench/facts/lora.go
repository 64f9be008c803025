package main

import (
	"context"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/bench/internal/study"
)

// loraTried is what LoRA gave.
type loraTried struct {
	study.Trained
	recall
	Perplexity map[string]float64 `json:"perplexity,omitempty"` // of the background texts
	Base       map[string]float64 `json:"base,omitempty"`       // likewise, with the adapter off
}

// trainLoRA trains an adapter by a recipe, asks about the facts, and measures texts. It has the same tokens and steps as a
// set by the same number of passes.
func (b *bench) trainLoRA(ctx context.Context, r recipe, f *facts, score map[string][]study.Record) (*loraTried, error) {
	steps, records, err := b.steps(r, f)
	if err != nil {
		return nil, err
	}
	o := study.LoRA{
		Rank: 16, Modules: []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
		Records: records, Steps: steps, Batch: b.Batch, Rate: r.Rate, Seed: b.Seed,
		NewTokens: b.NewTokens, End: b.tok.EOS, Score: score,
	}
	for _, x := range f.all {
		o.Answer = append(o.Answer, study.Record{Tokens: b.tok.Encode(tune.QuestionPrompt(x.Test.Question), true)})
	}
	res, err := b.LoRA(ctx, o)
	if err != nil {
		return nil, err
	}
	t := &loraTried{Trained: res.Trained, Perplexity: res.Perplexity, Base: res.Base}
	for i, x := range f.all {
		t.add(x, b.tok.Decode(res.Answers[i]))
	}
	return t, nil
}

// measureLoRA trains an adapter on the facts that are reported and measures what a set is measured on.
func (b *bench) measureLoRA(ctx context.Context, r recipe, f *facts) error {
	_, err := study.Do(ctx, b.Study, "lora", func() (*loraTried, error) {
		score := map[string][]study.Record{}
		for _, name := range textNames {
			var err error
			if score[name], err = b.windows(name); err != nil {
				return nil, err
			}
		}
		return b.trainLoRA(ctx, r, f, score)
	})
	return err
}

// windows cuts a background text as peft eval does.
func (b *bench) windows(name string) ([]study.Record, error) {
	d, err := tune.ReadFiles(b.tok, []string{b.text(name)}, false)
	if err != nil {
		return nil, err
	}
	var all []study.Record
	for _, r := range append(d.Docs, d.Records...) {
		for at := 0; at+1 < len(r.Tokens) && len(all) < b.most(name); at += window {
			all = append(all, study.Record{Tokens: r.Tokens[at:min(at+window, len(r.Tokens))]})
		}
	}
	return all, nil
}
