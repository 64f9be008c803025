package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name: "generate", Usage: "continue a prompt, or answer it as a chat", ArgsUsage: "PROMPT",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "sets", Usage: "`SETS` that are on, such as a,b or a*0.5,b for a at half its strength"},
			&cli.BoolFlag{Name: "auto", Usage: "let the sets' gates decide which are on, among SETS when they are given"},
			scaleFlag(),
			&cli.IntFlag{Name: "max-tokens", Value: 128, Usage: "write at most `N` tokens"},
			&cli.Float64Flag{Name: "temperature", Usage: "0 takes the most probable token always"},
			&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "sample from the most probable tokens of this probability together"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the sampling"},
			&cli.BoolFlag{Name: "chat", Usage: "put the prompt as a user's message into the model's chat template"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c, "PROMPT"); err != nil {
				return err
			}
			if c.Int("max-tokens") < 1 || c.Float64("temperature") < 0 || c.Float64("top-p") < 0 || c.Float64("top-p") > 1 {
				return usagef("generate: want --max-tokens at least 1, --temperature at least 0, --top-p 0 to 1")
			}
			o := peft.GenerateOptions{Prompt: c.Args().First(), Sets: setsOn(c), Auto: c.Bool("auto"), MaxTokens: c.Int("max-tokens"),
				Temperature: c.Float64("temperature"), TopP: c.Float64("top-p"), Seed: c.Uint64("seed")}
			if c.Bool("chat") {
				o.Messages = []tokenizer.Message{{Role: "user", Content: o.Prompt}}
			}
			return withEngine(c, func(e *peft.Engine) error {
				var emit func(string) error
				if !c.Bool("json") {
					if !c.Bool("chat") {
						fmt.Fprint(c.App.Writer, o.Prompt)
					}
					emit = func(s string) error {
						_, err := io.WriteString(c.App.Writer, s)
						return err
					}
				}
				r, err := e.Generate(c.Context, o, emit)
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) {
					fmt.Fprintln(w)
					printFired(c.App.ErrWriter, r.Fired)
				})
			})
		},
	}
}
