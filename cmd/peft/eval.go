package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name: "eval", Usage: "measure perplexity",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "data", TakesFile: true, Usage: "a `FILE` to measure on; may be repeated"},
			&cli.StringFlag{Name: "sets", Usage: "`SETS` that are on, such as a,b or a*0.5,b for a at half its strength"},
			&cli.BoolFlag{Name: "auto", Usage: "let the sets' gates decide which are on, among SETS when they are given"},
			scaleFlag(),
			&cli.IntFlag{Name: "seq-len", Value: 512, Usage: "tokens a window"},
			&cli.IntFlag{Name: "gate-tokens", Value: 64, Usage: "with --auto, the `N` first tokens of a window decide, and are read by the base alone"},
			&cli.IntFlag{Name: "max-windows", Usage: "measure the first `N` windows", DefaultText: "all"},
			&cli.BoolFlag{Name: "train-all", Usage: "score prompts and questions too, not only answers"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			if err := need(c, "data"); err != nil {
				return err
			}
			if c.Int("seq-len") < 2 || c.Int("max-windows") < 0 || c.Int("gate-tokens") < 1 {
				return usagef("eval: --seq-len %d --max-windows %d --gate-tokens %d: want at least 2, 0 and 1", c.Int("seq-len"), c.Int("max-windows"), c.Int("gate-tokens"))
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.Evaluate(c.Context, peft.EvalOptions{Data: c.StringSlice("data"), Sets: setsOn(c), Auto: c.Bool("auto"), GateTokens: c.Int("gate-tokens"),
					SeqLen: c.Int("seq-len"), MaxWindows: c.Int("max-windows"), TrainAll: c.Bool("train-all")})
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) {
					fmt.Fprintf(w, "perplexity %.4f over %d tokens in %d windows (%.4f nats a token)\nlogits %s\n", r.Perplexity, r.Tokens, r.Windows, r.NLL, r.LogitsSHA256)
					printFired(w, r.Fired)
				})
			})
		},
	}
}
