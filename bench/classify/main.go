// Classify measures continual classification with no task named: tasks whose labels are new come one after the other, each
// is learned by a set of its own, and in the end all test texts are sorted into all labels, while the sets' gates decide
// which sets see a text.
//
//	go run ./bench/classify -base MODEL.gguf -data DIR -work DIR [-python PYTHON] [-sequences two,three] [-for 4m]
//
// DIR holds agnews and amazon, each with train.json and test.json: lists of {"label", "sentence"}. Beside it stand one set
// trained on all tasks mixed, LoRA trained on the tasks one after the other, and the base alone. Results are kept in -work
// unit by unit, and a call does what is missing; classify.json and the section of learning.md are written from them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/internal/study"
	"github.com/gopeft/peft/bench/record"
)

// settings decide what the results are.
type settings struct {
	Steps   int    `json:"steps"`   // of a data set's training
	Records int    `json:"records"` // of a data set, to train on and hold back
	Samples int    `json:"samples"` // of a data set's test
	Tokens  int    `json:"tokens"`  // of a text, at most
	Seed    uint64 `json:"seed"`
	// Rate and Rank are LoRA's. Sets are trained with the defaults of peft finetune.
	Rate float64 `json:"lora_rate"`
	Rank int     `json:"lora_rank"`
}

// bench is one call of the program.
type bench struct {
	*study.Study
	settings
	tok  *tokenizer.Tokenizer
	data map[string]*dataset // by name
}

func main() { study.Main("classify", run) }

func run(ctx context.Context) error {
	b := &bench{Study: study.Flags(flag.CommandLine, "classify")}
	dir := flag.String("data", "", "`DIR` with agnews and amazon")
	names := flag.String("sequences", "two,three", "`NAMES` of sequences of tasks: two, three")
	flag.IntVar(&b.Steps, "steps", 50, "of 1,024 tokens, for a data set")
	flag.IntVar(&b.settings.Records, "records", 800, "of a data set, to train on; a tenth of them is held back")
	flag.IntVar(&b.Samples, "samples", 300, "of a data set's test")
	flag.IntVar(&b.Tokens, "tokens", 64, "of a text, at most")
	flag.Uint64Var(&b.Seed, "seed", 1, "of the training")
	flag.Float64Var(&b.Rate, "lora-rate", 1e-3, "learning rate of LoRA")
	flag.IntVar(&b.Rank, "lora-rank", 8, "of LoRA on q and v")
	flag.Parse()
	if *dir == "" {
		return errors.New("-data is needed")
	}
	var todo []sequence
	for n := range strings.SplitSeq(*names, ",") {
		i := slices.IndexFunc(sequences, func(s sequence) bool { return s.name == n })
		if i < 0 {
			return fmt.Errorf("-sequences %q: want two or three", n)
		}
		todo = append(todo, sequences[i])
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
	if err := b.read(*dir); err != nil {
		return err
	}
	err = b.work(ctx, todo)
	if err != nil && !errors.Is(err, record.ErrEnough) {
		return err
	}
	return errors.Join(err, b.report())
}

// work does the units that are missing: the sequences' sets first, then what they are compared with.
func (b *bench) work(ctx context.Context, todo []sequence) error {
	for i, s := range todo {
		if b.DoesSets() {
			if err := b.learn(ctx, s); err != nil {
				return err
			}
		}
		if b.DoesSets() && i == 0 { // the same for all sequences
			if err := b.joint(ctx); err != nil {
				return err
			}
		}
		if b.DoesSets() {
			if err := b.ways(ctx, s); err != nil {
				return err
			}
		}
		if b.DoesLoRA() {
			if err := b.lora(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}
