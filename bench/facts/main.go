// Facts measures whether facts that a set learned reach wordings it did not see.
//
//	go run ./bench/facts -base MODEL.gguf -wiki FILE.txt -work DIR [-python PYTHON] [-for 4m]
//
// report.jsonl has a hundred invented facts, each with a statement, two questions with answers, and one more question in
// other words that is asked afterwards; an answer counts when it contains the right words. How sets and LoRA are trained is
// chosen on the other facts of tune.jsonl. Background text must not suffer: it is measured on encyclopedic text and on text
// that the base writes. Results are kept in -work unit by unit, and a call does what is missing; facts.json and the section
// of learning.md are written from them.
package main

import (
	"context"
	"errors"
	"flag"
	"slices"
	"strings"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/internal/study"
	"github.com/gopeft/peft/bench/record"
)

// settings decide what the results are.
type settings struct {
	Batch     int    `json:"batch"`      // tokens a step
	NewTokens int    `json:"new_tokens"` // of an answer, at most
	Windows   int    `json:"windows"`    // of 512 tokens of encyclopedic text
	Sampled   int    `json:"sampled"`    // texts that the base writes
	Facts     int    `json:"facts"`      // of each file, at most; 0 for all
	Seed      uint64 `json:"seed"`
}

// bench is one call of the program.
type bench struct {
	*study.Study
	settings
	tok     *tokenizer.Tokenizer
	wiki    string   // file
	recipes []recipe // to try
}

func main() { study.Main("facts", run) }

func run(ctx context.Context) error {
	b := &bench{Study: study.Flags(flag.CommandLine, "facts")}
	flag.StringVar(&b.wiki, "wiki", "", "encyclopedic text `FILE`")
	passes := flag.Float64("passes", 0, "over the facts, instead of each recipe's own")
	names := flag.String("recipes", "", "`NAMES` of recipes to try; empty for all")
	flag.IntVar(&b.Batch, "batch", 256, "tokens a step")
	flag.IntVar(&b.NewTokens, "new-tokens", 24, "of an answer, at most")
	flag.IntVar(&b.Windows, "windows", 16, "of 512 tokens of encyclopedic text")
	flag.IntVar(&b.Sampled, "sampled", 32, "texts that the base writes")
	flag.IntVar(&b.Facts, "facts", 0, "of each file, at most; 0 for all")
	flag.Uint64Var(&b.Seed, "seed", 1, "of the training")
	flag.Parse()
	if b.wiki == "" {
		return errors.New("-wiki is needed")
	}
	for _, r := range recipes {
		if *names != "" && !slices.Contains(strings.Split(*names, ","), r.Name) {
			continue
		}
		if *passes > 0 {
			r.Passes = *passes
		}
		b.recipes = append(b.recipes, r)
	}
	if err := b.Open(b.settings); err != nil {
		return err
	}
	m, err := base.Open(b.Base, base.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	b.tok = m.Tokenizer
	err = b.work(ctx)
	if err != nil && !errors.Is(err, record.ErrEnough) {
		return err
	}
	return errors.Join(err, b.report())
}

// work does the units that are missing.
func (b *bench) work(ctx context.Context) error {
	tune, err := b.read("tune")
	if err != nil {
		return err
	}
	report, err := b.read("report")
	if err != nil {
		return err
	}
	for _, lora := range []bool{false, true} {
		if lora && !b.DoesLoRA() || !lora && !b.DoesSets() {
			continue
		}
		for _, r := range b.recipes {
			if r.LoRA == lora {
				if err := b.try(ctx, r, tune); err != nil {
					return err
				}
			}
		}
		best, err := study.Do(ctx, b.Study, chosenKey(lora), func() (recipe, error) { return b.best(lora) })
		if err != nil {
			return err
		}
		measure := b.measure
		if lora {
			measure = b.measureLoRA
		}
		if err := measure(ctx, best, report); err != nil {
			return err
		}
	}
	return nil
}
