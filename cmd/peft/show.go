package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show one set", ArgsUsage: "NAME[@REVISION]",
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				s, err := e.Show(c.Args().First())
				if err != nil {
					return err
				}
				return result(c, s, func(w io.Writer) { printSet(w, s) })
			})
		},
	}
}

func printSet(w io.Writer, s *peft.SetInfo) {
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, a...)) }
	line("set", "%s@%d (from revision %d)", s.Name, s.Revision, s.Parent)
	line("created", "%s", s.Created.Local().Format(time.DateTime))
	where := "in cells"
	if s.AlwaysOn {
		where = "always on"
	}
	if len(s.Sites) > 0 {
		where += " at " + strings.Join(s.Sites, ", ")
	}
	line("experts", "%d of kind %s, %s, in blocks %v", s.Experts, s.Kind, where, s.Layers)
	line("size", "%s", size(s.Bytes))
	line("base", "%s %s", s.Base, s.Fingerprint)
	line("router", "%s", s.RouterSHA256)
	if len(s.Source) > 0 {
		line("source", "%s", strings.Join(s.Source, ", "))
	}
	if tr := s.Training; tr != nil {
		adam := ""
		if tr.Ratio != 0 && tr.Ratio != 1 {
			adam = fmt.Sprintf(" (%g times for what writes)", tr.Ratio)
		}
		if tr.Beta1 != 0 {
			adam += fmt.Sprintf(", beta1 %g", tr.Beta1)
		}
		line("training", "%d steps, %d tokens, learning rate %g%s, %.0f s, %.0f tokens/s", tr.Steps, tr.Tokens, tr.LearningRate, adam, tr.Seconds, tr.TokensPerSec)
		if tr.Kept > 0 && tr.Kept < 1 {
			line("pruned", "to %.0f %% of the experts", 100*tr.Kept)
		}
		line("target", "perplexity %.3f → %.3f", tr.Before.Target, tr.After.Target)
		line("background", "perplexity %.3f → %.3f", tr.Before.Background, tr.After.Background)
	}
	printGate(w, s)
	printForgetting(w, s.Forgetting)
}
