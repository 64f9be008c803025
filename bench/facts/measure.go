package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/bench/internal/study"
)

// recall is what came of asking about facts.
type recall struct {
	Asked   int      `json:"asked"`
	Right   int      `json:"right"`
	Fired   int      `json:"fired,omitempty"` // prompts for which the gate fired
	Answers []string `json:"answers"`
}

func (r recall) share() float64 { return float64(r.Right) / float64(max(1, r.Asked)) }

func (r *recall) add(f fact, answer string) {
	r.Asked++
	if f.Test.right(answer) {
		r.Right++
	}
	r.Answers = append(r.Answers, answer)
}

// ask asks about every fact in words that were not learned.
func (b *bench) ask(ctx context.Context, e *peft.Engine, f *facts, o peft.GenerateOptions) (recall, error) {
	var r recall
	for _, x := range f.all {
		o.Prompt, o.MaxTokens = tune.QuestionPrompt(x.Test.Question), b.NewTokens
		g, err := e.Generate(ctx, o, nil)
		if err != nil {
			return r, err
		}
		r.add(x, g.Text)
		for _, s := range g.Fired {
			r.Fired += s.Sequences
		}
	}
	return r, nil
}

// perplexity is how a background text is predicted.
type perplexity struct {
	Windows    int     `json:"windows"`
	Perplexity float64 `json:"perplexity"`
	Fired      int     `json:"fired,omitempty"` // windows for which the gate fired
}

// mode is what is on.
type mode struct {
	name string
	sets []string
	auto bool
}

// measure trains a set by a recipe on the facts that are reported, and measures it beside the base.
func (b *bench) measure(ctx context.Context, r recipe, f *facts) (err error) {
	e, err := b.Registry(ctx, "facts-report")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, err := study.Do(ctx, b.Study, "train", func() (study.Trained, error) { return b.train(ctx, e, r, f) }); err != nil {
		return err
	}
	modes := []mode{{"auto", nil, true}, {"on", []string{f.name}, false}, {"base", nil, false}}
	for _, m := range modes {
		if _, err := study.Do(ctx, b.Study, "recall/"+m.name, func() (recall, error) {
			return b.ask(ctx, e, f, peft.GenerateOptions{Sets: m.sets, Auto: m.auto})
		}); err != nil {
			return err
		}
	}
	if err := b.sample(ctx, e); err != nil {
		return err
	}
	for _, name := range textNames {
		for _, m := range modes {
			if _, err := study.Do(ctx, b.Study, "text/"+name+"/"+m.name, func() (perplexity, error) {
				res, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{b.text(name)}, Sets: m.sets, Auto: m.auto, SeqLen: window, MaxWindows: b.most(name)})
				if err != nil {
					return perplexity{}, err
				}
				t := perplexity{Windows: res.Windows, Perplexity: res.Perplexity}
				for _, s := range res.Fired {
					t.Fired += s.Sequences
				}
				return t, nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Texts that are not to suffer, in windows of at most so many tokens.
const (
	wiki, sampled = "wiki", "sampled"
	window        = 512
	sampledTokens = 160 // of each sampled text, at most
)

var textNames = []string{wiki, sampled}

func (b *bench) text(name string) string {
	if name == wiki {
		return b.wiki
	}
	return b.Path("sampled.jsonl")
}

func (b *bench) most(name string) int {
	if name == wiki {
		return b.Windows
	}
	return b.Sampled
}

// sample lets the base write texts, from the token that begins one.
func (b *bench) sample(ctx context.Context, e *peft.Engine) error {
	_, err := study.Do(ctx, b.Study, "sample", func() (int, error) {
		m, err := e.Base()
		if err != nil {
			return 0, err
		}
		begin, ok := m.Tokenizer.ID("<|endoftext|>")
		if !ok {
			begin = m.Tokenizer.EOS[0]
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		written := 0
		for seed := uint64(1); written < b.Sampled; seed++ {
			ids, _, err := m.Generate(ctx, []int32{begin}, base.GenOptions{MaxTokens: sampledTokens, Sampling: base.Sampling{Temperature: 1, Seed: 1000 + seed}}, nil)
			if err != nil {
				return 0, err
			}
			if len(ids) < 16 { // too short for a gate to be asked fairly
				continue
			}
			if err := enc.Encode(map[string]string{"text": m.Tokenizer.Decode(ids)}); err != nil {
				return 0, err
			}
			written++
		}
		return written, os.WriteFile(b.text(sampled), out.Bytes(), 0o644)
	})
	return err
}
