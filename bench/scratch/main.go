// Scratch trains small models from scratch that differ in their feed-forward layers alone, on the text of the Go
// distribution, and writes what came of it: raw figures as scratch.json, plots, and a section of learning.md.
//
//	go run ./bench/scratch -work DIR [-only rates,recipe,short,long,experts] [-steps 300] [-do N] [-out docs]
//
// rates: every variant at several learning rates, at both lengths, on a split of its own. recipe: PEER with one thing
// changed at a time, on the same split. short and long: dense layers, PEER, a mixture of experts and a product-key memory
// of as many FLOPs a token, at their best rates, for -steps and for three times as many. experts: PEER with 2^10 to 2^20
// experts a layer. Each training is a unit of work that is kept in DIR when it is done; -do ends after that many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft/adapters/pretrain"
	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("scratch", run) }

// bench is one call of the program.
type bench struct {
	work            string
	steps, threads  int
	left            record.Allowance
	docs            []pretrain.Document
	tuned, reported *pretrain.Text
	variants        []variant
	units           *record.Units[result]
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("scratch", flag.ContinueOnError)
	b := &bench{}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results and checkpoints")
	f.IntVar(&b.steps, "steps", 300, "of a short training")
	f.IntVar(&b.threads, "threads", 1, "that compute")
	f.IntVar((*int)(&b.left), "do", -1, "trainings to do now; below 0: all")
	out := f.String("out", "docs", "`DIR` to write to")
	only := f.String("only", "rates,recipe,short,long,experts", "experiments")
	seeds := f.Int("seeds", 3, "of the comparisons")
	goroot := f.String("goroot", "", "`DIR` of the Go distribution to read; default: go env GOROOT")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	var err error
	if *goroot == "" {
		if *goroot, err = pretrain.GOROOT(ctx); err != nil {
			return err
		}
	}
	if b.docs, err = pretrain.Corpus(*goroot); err != nil {
		return err
	}
	if b.variants, err = variants(); err != nil {
		return err
	}
	if b.units, err = record.Open[result](filepath.Join(b.work, "scratch.json")); err != nil {
		return err
	}
	err = b.experiments(ctx, strings.Split(*only, ","), *seeds)
	return errors.Join(record.UnlessEnough(err), b.report(*out))
}

func (b *bench) experiments(ctx context.Context, names []string, seeds int) error {
	var all []uint64
	for s := range seeds {
		all = append(all, uint64(s+1))
	}
	for _, name := range names {
		var err error
		switch name {
		case "rates":
			err = b.sweepRates(ctx)
		case "recipe":
			err = b.tryRecipes(ctx)
		case "short":
			err = b.compare(ctx, name, b.steps, all)
		case "long":
			err = b.compare(ctx, name, longer*b.steps, all)
		case "experts":
			err = b.moreExperts(ctx)
		default:
			err = fmt.Errorf("-only %q: want rates, recipe, short, long or experts", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// longer is how many times the steps of a short training a long one has.
const longer = 3
