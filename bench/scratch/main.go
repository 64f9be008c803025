// Scratch trains small models from scratch that differ in their feed-forward layers alone, on the text of the Go
// distribution, and writes what came of it to docs: raw figures as scratch.json, plots, and a section of learning.md.
//
//	go run ./bench/scratch --minutes 120 [--only variants|experts] [--shape small|base] [--seeds 1,2,3]
//
// variants: dense, PEER, a mixture of experts and a product-key memory, of as many FLOPs a token as PEER's (the width of the
// others is fitted to it) and trained on the same tokens. experts: PEER with 2^10 to 2^16 experts a layer, heads and k
// fixed. All models of an experiment have the same steps, as many as fit the minutes by a short trial of each; --steps sets
// them instead, and with --state an interrupted run goes on where it was. Learning rates are those of peft pretrain for
// all; --expert-lr sets that of the experts. Results of other experiments, shapes and seeds that scratch.json has stay in it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopeft/peft/adapters/pretrain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scratch:", err)
		os.Exit(1)
	}
}

// bench is one call of the program.
type bench struct {
	base    pretrain.Options
	text    *pretrain.Text
	shape   string
	subKeys int
	minutes float64
	steps   int
	held    int // tokens measured at the end; 0 for all that are held out
	seeds   []uint64
	state   string // directory of checkpoints, or empty
	out     string
	file    resultFile
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("scratch", flag.ContinueOnError)
	b := &bench{}
	f.Float64Var(&b.minutes, "minutes", 120, "of training, all experiments and seeds together")
	f.IntVar(&b.steps, "steps", 0, "of every model, instead of as many as fit")
	f.IntVar(&b.held, "held", 0, "held-out tokens measured at the end; 0 takes all")
	f.IntVar(&b.subKeys, "subkeys", 64, "of each half, of PEER and the memory in variants: n·n experts")
	expertLR := f.Float64("expert-lr", float64(pretrain.Defaults().Optimizer.ExpertLR), "learning rate of experts, sub-keys and a mixture's scores")
	f.StringVar(&b.shape, "shape", "small", "of the models: small or base, that of the built-in base")
	f.StringVar(&b.state, "state", "", "directory that keeps checkpoints")
	f.StringVar(&b.out, "out", "docs", "directory to write to")
	only := f.String("only", "", "variants or experts")
	seeds := f.String("seeds", "1", "of the runs, such as 1,2,3")
	goroot := f.String("goroot", "", "of the Go distribution to read; default: go env GOROOT")
	if err := f.Parse(args); err != nil {
		return err
	}
	for s := range strings.SplitSeq(*seeds, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return fmt.Errorf("--seeds %q: %w", *seeds, err)
		}
		b.seeds = append(b.seeds, n)
	}
	var err error
	if b.base, err = options(b.shape); err != nil {
		return err
	}
	b.base.Optimizer.ExpertLR = float32(*expertLR)
	if err := b.readText(ctx, *goroot); err != nil {
		return err
	}
	if err := b.file.read(filepath.Join(b.out, resultName)); err != nil {
		return err
	}
	experiments := []string{"variants", "experts"}
	if *only != "" {
		if !slices.Contains(experiments, *only) {
			return fmt.Errorf("--only %q: want variants or experts", *only)
		}
		experiments = []string{*only}
	}
	for _, e := range experiments {
		if err := b.experiment(ctx, e, b.minutes/float64(len(experiments))); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) readText(ctx context.Context, goroot string) (err error) {
	if goroot == "" {
		if goroot, err = pretrain.GOROOT(ctx); err != nil {
			return err
		}
	}
	docs, err := pretrain.Corpus(goroot)
	if err != nil {
		return err
	}
	b.text, err = pretrain.NewText(docs, b.base.HeldOut, b.base.Shape.Vocab, func(p pretrain.Progress) { logf("%s", p.Message) })
	return err
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// experiment trains the models of one experiment with every seed, and writes the results after each.
func (b *bench) experiment(ctx context.Context, name string, minutes float64) error {
	models, err := b.models(name)
	if err != nil {
		return err
	}
	steps := b.steps
	if steps == 0 {
		if steps, err = b.fit(ctx, models, minutes); err != nil {
			return err
		}
	}
	for _, seed := range b.seeds {
		for _, m := range models {
			r, err := b.train(ctx, name, m, seed, steps)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, m.name, err)
			}
			b.file.put(*r)
			if err := b.file.write(b.out); err != nil {
				return err
			}
		}
	}
	return nil
}

// curvePoints is how often the held-out text is measured, the last time all of it that counts, before on betweenTokens.
const curvePoints, betweenTokens = 5, 4096

// fit returns how many steps of all models fit, with their measurements, by a trial of each.
func (b *bench) fit(ctx context.Context, models []model, minutes float64) (int, error) {
	const trial = 3
	_, held := b.text.Tokens()
	if b.held > 0 {
		held = min(held, b.held)
	}
	var each, measuring float64
	for _, m := range models {
		o := b.options(m, b.seeds[0], trial)
		o.EvalEvery, o.FinalTokens = 0, betweenTokens
		start := time.Now()
		r, err := pretrain.Run(ctx, o, "", nil)
		if err != nil {
			return 0, fmt.Errorf("trial of %s: %w", m.name, err)
		}
		all := time.Since(start).Seconds()
		logf("trial of %s: %.2f s a step, %.2f MFLOP a token", m.name, r.Seconds/trial, float64(r.FLOPs)/1e6)
		each += r.Seconds / trial
		// What is beside the steps, making the model among it, is mostly measuring.
		measuring += (all - r.Seconds) * (curvePoints - 1 + float64(held)/betweenTokens)
	}
	seeds := float64(len(b.seeds))
	steps := int((minutes*60/seeds - measuring) / each)
	if steps < 2 {
		return 0, fmt.Errorf("%g minutes are not enough: a step of each model takes %.1f s and measuring them %.0f s, with each of %d seeds; give more, or fewer --held tokens", minutes, each, measuring, len(b.seeds))
	}
	logf("%d steps of each model; to go on after an interruption give --steps %d and --state", steps, steps)
	return steps, nil
}

// options of one model's run.
func (b *bench) options(m model, seed uint64, steps int) pretrain.Options {
	o := b.base
	o.Shape, o.Text, o.Seed, o.Steps = m.shape, b.text, seed, steps
	o.Optimizer.Warmup, o.Optimizer.Decay = min(o.Optimizer.Warmup, max(1, steps/10)), max(1, steps/3)
	o.EvalEvery, o.EvalTokens, o.FinalTokens = max(1, (steps+curvePoints-1)/curvePoints), betweenTokens, b.held
	o.Threads = min(runtime.NumCPU(), 8)
	return o
}

// train trains one model.
func (b *bench) train(ctx context.Context, experiment string, m model, seed uint64, steps int) (*result, error) {
	o := b.options(m, seed, steps)
	if b.state != "" {
		if err := os.MkdirAll(b.state, 0o755); err != nil {
			return nil, err
		}
		o.Checkpoint = filepath.Join(b.state, fmt.Sprintf("%s-%s-%s-%d", experiment, b.shape, m.name, seed))
	}
	r := &result{Experiment: experiment, Shape: b.shape, Model: m.name, Experts: m.experts, Seed: seed, BatchTokens: o.BatchTokens, Instead: m.shape.Instead, FFN: m.shape.FFN, ExpertLR: o.Optimizer.ExpertLR}
	var err error
	r.Result, err = pretrain.Run(ctx, o, "", func(p pretrain.Progress) {
		if p.Perplexity > 0 {
			r.Curve = append(r.Curve, point{Tokens: p.Step * o.BatchTokens, Perplexity: p.Perplexity})
			logf("%s, %s, seed %d: step %d of %d, held-out perplexity %.2f", experiment, m.name, seed, p.Step, steps, p.Perplexity)
		}
	})
	if err != nil {
		return nil, err
	}
	if r.HeldOutTokens == 0 {
		return nil, errors.New("no held-out text")
	}
	r.Curve = append(r.Curve, point{Tokens: r.SeenTokens, Perplexity: r.Perplexity})
	logf("%s, %s, seed %d: held-out perplexity %.3f after %d tokens, %.0f s", experiment, m.name, seed, r.Perplexity, r.SeenTokens, r.Seconds)
	return r, nil
}
