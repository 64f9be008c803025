package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func logitsCommand() *cli.Command {
	return &cli.Command{
		Name: "logits", Usage: "show a text's tokens and the logits of its last position; nothing is put in front of it",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "text", Usage: "the `TEXT`"},
			&cli.StringFlag{Name: "text-file", TakesFile: true, Usage: "the text's `FILE`"},
			&cli.StringFlag{Name: "sets", Usage: "`SETS` that are on, such as a,b or a*0.5,b for a at half its strength"},
			&cli.BoolFlag{Name: "auto", Usage: "let the sets' gates decide which are on, among SETS when they are given"},
			scaleFlag(),
			&cli.IntFlag{Name: "top", Value: 20, Usage: "show the `N` largest"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			if c.Int("top") < 1 {
				return usagef("logits: --top %d, want at least 1", c.Int("top"))
			}
			text := c.String("text")
			if (text != "") == (c.String("text-file") != "") {
				return usagef("logits: give either --text or --text-file")
			}
			if text == "" {
				b, err := os.ReadFile(c.String("text-file"))
				if err != nil {
					return err
				}
				text = string(b)
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.Logits(c.Context, peft.LogitsOptions{Text: text, Sets: setsOn(c), Auto: c.Bool("auto"), Top: c.Int("top")})
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) {
					printFired(w, r.Fired)
					fmt.Fprintf(w, "%d tokens %v\nmean NLL %.5f\n", len(r.TokenIDs), r.TokenIDs, r.MeanNLL)
					for _, l := range r.Top {
						fmt.Fprintf(w, "%8d %10.5f %q\n", l.ID, l.Logit, l.Token)
					}
				})
			})
		},
	}
}
