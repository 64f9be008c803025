package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "write one HTML page about all sets: what they changed, where their gates fire, their history",
		Flags: []cli.Flag{&cli.StringFlag{Name: "out", TakesFile: true, Value: "peft-report.html", Usage: "the page's `FILE`"}},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				f, err := os.Create(c.String("out"))
				if err != nil {
					return err
				}
				if err := errors.Join(e.WriteReport(f), f.Close()); err != nil {
					return err
				}
				return result(c, map[string]string{"file": c.String("out")}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", c.String("out")) })
			})
		},
	}
}

// printForgetting shows what a revision did to other text.
func printForgetting(w io.Writer, f *peft.Forgetting) {
	if f == nil {
		return
	}
	fmt.Fprintf(w, "perplexity before → after, on up to %d tokens of each text:\n  %-16s %9s %9s %21s %21s %8s\n", f.Tokens, "text", "off", "alone", "own set on", "auto", "")
	for _, t := range f.Texts {
		fmt.Fprintf(w, "  %-16s %9.3f %9.3f %9.3f → %9.3f %9.3f → %9.3f %+7.2f %%\n", t.Text, t.Off, t.Alone, t.On[0], t.On[1], t.Auto[0], t.Auto[1], 100*t.Change())
	}
	for _, t := range f.Texts {
		if t.Apart {
			fmt.Fprintf(w, "  %s and this revision cannot be on together (two of DoRA at a layer): \"own set on\" is without it, and auto takes one of them\n", t.Text)
		}
	}
	for _, t := range f.Texts {
		if a := t.Accuracy; a != nil {
			fmt.Fprintf(w, "  %-16s %8.1f%% %8.1f%% %8.1f%% → %8.1f%% %8.1f%% → %8.1f%% right of %d labels\n", t.Text, 100*a.Off, 100*a.Alone, 100*a.On[0], 100*a.On[1], 100*a.Auto[0], 100*a.Auto[1], a.Records)
		}
	}
}
