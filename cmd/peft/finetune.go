package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func finetuneCommand() *cli.Command {
	return &cli.Command{
		Name: "finetune", Usage: "train one set, adding it when it is missing; nothing else changes", ArgsUsage: "NAME",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "data", TakesFile: true, Usage: "a `FILE` to learn (.txt, .md, .jsonl); may be repeated"},
			&cli.StringSliceFlag{Name: "eval-data", TakesFile: true, Usage: "a `FILE` to measure on", DefaultText: "a tenth of the data, held out"},
			&cli.IntFlag{Name: "steps", Value: 200, Usage: "`N` steps of the optimiser"},
			&cli.IntFlag{Name: "seq-len", Value: 256, Usage: "longest sequence, in tokens"},
			&cli.IntFlag{Name: "batch-tokens", Value: 1024, Usage: "tokens a step"},
			&cli.Float64Flag{Name: "lr", Usage: "peak learning rate", DefaultText: "0.002 for 200 steps, more for fewer"},
			&cli.Float64Flag{Name: "quiet", Value: 10, Usage: "weight of the penalty on what the set adds to background text"},
			&cli.BoolFlag{Name: "resume", Usage: "go on with a run that was interrupted"},
			&cli.StringFlag{Name: "with", Usage: "`SETS` that are on beside it, such as a,b"},
			&cli.BoolFlag{Name: "alternate", Usage: "the sets of --with are on for half of the tokens only, in turn, those the most that make the text worse: it learns to do with and without them"},
			&cli.StringSliceFlag{Name: "quiet-data", TakesFile: true, Usage: "a `FILE` of text that the set is to leave alone, as it does the background, also with one of --with on; each weighs as much, more than four together as four"},
			&cli.BoolFlag{Name: "quiet-passages", Usage: "the set is to leave alone built-in passages of many kinds, too: for one to be on beside sets that it cannot know"},
			&cli.StringFlag{Name: "precision", Usage: "of products with weights: int8, bf16 or f32", DefaultText: "the fastest on this machine with the base's weights"},
			&cli.BoolFlag{Name: "train-all", Usage: "learn prompts and questions too, not only answers"},
			&cli.IntFlag{Name: "eval-every", Usage: "steps between evaluations on held-out data", DefaultText: "none"},
			&cli.IntFlag{Name: "patience", Usage: "stop after `N` evaluations without progress", DefaultText: "never"},
			&cli.IntFlag{Name: "checkpoint-every", Value: 50, Usage: "steps between checkpoints"},
			&cli.IntFlag{Name: "experts", Usage: "`N` experts of a set that is added", DefaultText: "as add-experts; beside sets of --with as with --occupancy tfidf"},
			&cli.IntFlag{Name: "report-tokens", Value: 2048, Usage: "read `N` tokens of each other text to see what the training did to it; 0 for none"},
			&cli.StringFlag{Name: "forbid-regression", Usage: "publish nothing when the background or another set's text becomes worse by more than `X%` with --auto", DefaultText: "any"},
			occupancyFlag(), spreadFlag(),
			&cli.BoolFlag{Name: "no-aim", Usage: "new experts begin as they are drawn, not turned towards what they will see"},
			&cli.BoolFlag{Name: "only-new", Usage: "train only experts that never were, such as those that add-experts --experts +N put in"},
			&cli.BoolFlag{Name: "prune", Usage: "leave out the experts that the data selects least"},
			&cli.Float64Flag{Name: "keep", Value: 0.5, Usage: "`SHARE` of the experts that --prune keeps"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the order of the data and of new experts"},
		}, adapterFlags(), optimiserFlags()),
		Action: func(c *cli.Context) error {
			if err := checkFinetune(c); err != nil {
				return err
			}
			o := peft.FinetuneOptions{
				Data: c.StringSlice("data"), EvalData: c.StringSlice("eval-data"), Steps: c.Int("steps"), SeqLen: c.Int("seq-len"),
				BatchTokens: c.Int("batch-tokens"), LearningRate: c.Float64("lr"), Quiet: c.Float64("quiet"), Seed: c.Uint64("seed"), Resume: c.Bool("resume"),
				With: names(c.String("with")), Precision: c.String("precision"), TrainAll: c.Bool("train-all"), EvalEvery: c.Int("eval-every"),
				Patience: c.Int("patience"), CheckpointEvery: c.Int("checkpoint-every"), Experts: c.Int("experts"), Adapter: adapter(c), Optimiser: optimiser(c),
				ReportTokens: c.Int("report-tokens"), QuietData: c.StringSlice("quiet-data"), QuietPassages: c.Bool("quiet-passages"), Alternate: c.Bool("alternate"), Placing: placing(c), OnlyNew: c.Bool("only-new"), NoAim: c.Bool("no-aim"),
			}
			if c.Bool("prune") {
				if o.Prune = c.Float64("keep"); !(o.Prune > 0 && o.Prune <= 1) {
					return usagef("finetune: --keep %g: want more than 0 and at most 1", o.Prune)
				}
			}
			if o.ReportTokens == 0 {
				o.ReportTokens = -1 // 0 means the default to the library
			}
			if x := c.String("forbid-regression"); x != "" {
				v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(x), "%"), 64)
				if err != nil || v < 0 || math.IsNaN(v) {
					return usagef("finetune: --forbid-regression %q: want a share in per cent, such as 1%%", x)
				}
				if o.ReportTokens < 0 {
					return usagef("finetune: --forbid-regression needs the report: --report-tokens above 0")
				}
				o.ForbidRegression = &v
			}
			if o.Quiet == 0 {
				o.Quiet = -1 // likewise
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.Finetune(c.Context, c.Args().First(), o)
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) { printFinetune(w, r) })
			})
		},
	}
}

func checkFinetune(c *cli.Context) error {
	if err := want(c, "NAME"); err != nil {
		return err
	}
	if err := need(c, "data"); err != nil {
		return err
	}
	for least, flags := range [][]string{{"eval-every", "patience", "experts"}, {"steps", "seq-len", "batch-tokens", "checkpoint-every"}} {
		for _, f := range flags {
			if c.Int(f) < least {
				return usagef("finetune: --%s %d, want at least %d", f, c.Int(f), least)
			}
		}
	}
	if lr := c.Float64("lr"); c.IsSet("lr") && (!(lr > 0) || math.IsInf(lr, 0)) {
		return usagef("finetune: --lr %g, want more than 0", lr)
	}
	if q := c.Float64("quiet"); !(q >= 0) || math.IsInf(q, 0) {
		return usagef("finetune: --quiet %g, want 0 or more", q)
	}
	if p := c.String("precision"); !slices.Contains([]string{"", "int8", "bf16", "f32"}, p) {
		return usagef("finetune: --precision %q, want int8, bf16 or f32", p)
	}
	return nil
}

func printFinetune(w io.Writer, r *peft.FinetuneResult) {
	for _, why := range slices.Sorted(maps.Keys(r.Dropped)) {
		fmt.Fprintf(w, "left out %d records: %s\n", r.Dropped[why], why)
	}
	change := func(name string, before, after float64) {
		fmt.Fprintf(w, "  %-10s perplexity %9.3f → %9.3f (%+.1f %%)\n", name, before, after, 100*(after/before-1))
	}
	fmt.Fprintf(w, "trained %s@%d: %d steps, %.0f tokens/s\n", r.Name, r.Revision, r.Steps, r.TokensPerSecond)
	change("held out", r.Before.Target, r.After.Target)
	change("background", r.Before.Background, r.After.Background)
	printForgetting(w, r.Forgetting)
	fmt.Fprintf(w, "loss curve: %s\n", r.Plot)
}
