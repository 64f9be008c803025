// Facts measures whether facts that a set learned in some wordings are there in others: a hundred invented facts, each as a
// statement and two questions, and a test question in words of its own, answered greedily.
//
//	go run ./bench/facts -base MODEL.gguf -wikitext FILE -work DIR [-python PYTHON] [-for 4m]
//
// The recipe is chosen on forty other facts, of other kinds. Beside the set stand LoRA on the same tokens, its learning rate
// chosen likewise, and the base alone. Results are kept in -work unit by unit, and a call does what is missing; facts.json
// and the section of learning.md are written from them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/internal/study"
)

// settings decide what the results are.
type settings struct {
	Passes  int    `json:"passes"`  // over the training wordings
	Windows int    `json:"windows"` // of 512 tokens, of WikiText
	Samples int    `json:"samples"` // texts sampled from the base
	Length  int    `json:"length"`  // of those, in tokens
	Facts   int    `json:"facts"`   // of each part, at most; 0 for all
	Seed    uint64 `json:"seed"`
}

// bench is one call of the program.
type bench struct {
	*study.Study
	settings
	wikitext     string
	tune, report *part
}

func main() {
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	switch {
	case errors.Is(err, study.ErrLater):
		fmt.Println(err)
	case err != nil:
		log.Fatal("facts: ", err)
	}
}

func run(ctx context.Context) (err error) {
	b := &bench{Study: study.Flags(flag.CommandLine, "facts")}
	flag.StringVar(&b.wikitext, "wikitext", "", "`FILE` of background text")
	flag.IntVar(&b.Passes, "passes", 15, "over the training wordings")
	flag.IntVar(&b.Windows, "windows", 24, "of 512 tokens, of background text")
	flag.IntVar(&b.Samples, "samples", 16, "texts sampled from the base")
	flag.IntVar(&b.Length, "length", 160, "of those, in tokens")
	flag.IntVar(&b.settings.Facts, "facts", 0, "of each part, at most; 0 for all")
	flag.Uint64Var(&b.Seed, "seed", 1, "of the training")
	flag.Parse()
	if b.wikitext == "" {
		return errors.New("-wikitext is needed")
	}
	if err := b.Open(b.settings); err != nil {
		return err
	}
	e, err := b.Registry(ctx, "base")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if b.tune, err = b.part(e, "tune", tuneFacts); err != nil {
		return err
	}
	if b.report, err = b.part(e, "report", reportFacts); err != nil {
		return err
	}
	err = b.work(ctx, e)
	if err != nil && !errors.Is(err, study.ErrLater) {
		return err
	}
	return errors.Join(err, b.write())
}

// work does the units that are missing. e is the base without sets.
func (b *bench) work(ctx context.Context, e *peft.Engine) error {
	if err := b.sample(ctx, e); err != nil {
		return err
	}
	if err := b.measure(ctx, e, "base", b.report, nil); err != nil {
		return err
	}
	for _, r := range recipes {
		if err := b.learn(ctx, b.tune, r); err != nil {
			return err
		}
	}
	r, err := b.recipe()
	if err != nil {
		return err
	}
	if err := b.learn(ctx, b.report, r); err != nil {
		return err
	}
	if !b.HasLoRA() {
		return nil
	}
	return b.lora(ctx, e, r)
}
