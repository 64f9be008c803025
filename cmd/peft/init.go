package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/retrieval"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make the base's router from background text; done with defaults, which train nothing, when first needed",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "background", TakesFile: true, Value: "self", Usage: "a text `FILE`, or self for text sampled from the base"},
			&cli.StringFlag{Name: "layers", Usage: "`BLOCKS` that get a PEER layer, such as 1,3,5", DefaultText: "every second one"},
			&cli.IntFlag{Name: "heads", Usage: "query networks a layer", DefaultText: "4"},
			&cli.IntFlag{Name: "topk", Usage: "cells a head selects", DefaultText: "16"},
			&cli.IntFlag{Name: "subkeys", Usage: "`N` sub-keys of each half: N·N cells a layer", DefaultText: "16"},
			&cli.Uint64Flag{Name: "seed", Usage: "of sampling, rotations, clusters and training"},
			&cli.BoolFlag{Name: "train", Usage: "train query networks and sub-keys, from what calibration gives, together with experts that are discarded"},
			&cli.IntFlag{Name: "steps", Usage: "of that, `N`", DefaultText: "200"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			if c.IsSet("steps") && (!c.Bool("train") || c.Int("steps") < 1) {
				return usagef("--steps %d: needs --train, and at least 1", c.Int("steps"))
			}
			blocks, err := ints(c.String("layers"))
			if err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.Init(c.Context, peft.InitOptions{Background: c.String("background"), Layers: blocks, Heads: c.Int("heads"),
					TopK: c.Int("topk"), SubKeys: c.Int("subkeys"), Seed: c.Uint64("seed"),
					Train: c.Bool("train"), Steps: c.Int("steps")})
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) { printRouter(w, r) })
			})
		},
	}
}

func printRouter(w io.Writer, r *peft.InitResult) {
	fmt.Fprintf(w, "router %s\nbase   %s\n%d layers of %d cells, from %s in %.1f s\n", r.RouterSHA256, r.BaseFingerprint, len(r.Blocks), r.Cells, r.Background, r.Seconds)
	fmt.Fprintf(w, "use of the cells on %d held-out background tokens:\n", r.Report.HeldOut)
	printUse(w, r.Report)
	if t := r.Training; t != nil {
		fmt.Fprintf(w, "trained in %d steps on %d tokens in %.1f s: loss of the text %.3f at first, %.3f at last; by calibration alone the use was:\n",
			t.Steps, t.TextTokens, t.Seconds, t.First, t.Last)
		printUse(w, t.Calibrated)
	}
}

// printUse prints how evenly the cells were used.
func printUse(w io.Writer, r *retrieval.Report) {
	for _, l := range r.Layers {
		fmt.Fprintf(w, "  block %2d: %5.1f %% of the cells hit, %5.1f %% as a head's best, KL from uniform %.3f nats, busiest cell %.2f %%\n",
			l.Block, 100*l.Hit, 100*l.Top1, l.KL, 100*l.Max)
	}
}

// ints reads a list such as 1,3,5.
func ints(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var list []int
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil {
			return nil, usagef("%q is no list of numbers", s)
		}
		list = append(list, n)
	}
	return list, nil
}

// names reads a list such as a,b or a+b.
func names(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '+' || r == ' ' })
}
