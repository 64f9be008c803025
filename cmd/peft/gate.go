package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func gateCommand() *cli.Command {
	return &cli.Command{
		Name: "gate", Usage: "set a set's gate anew, against all sets there are now, as a new revision", ArgsUsage: "NAME",
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				s, err := e.Regate(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				return result(c, s, func(w io.Writer) { printSet(w, s) })
			})
		},
	}
}

// printGate shows what a gate was set on and what it reaches.
func printGate(w io.Writer, s *peft.SetInfo) {
	line := func(name, format string, a ...any) { fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, a...)) }
	g := s.Gate
	if g == nil {
		line("gate", "none: --auto does not know this set")
		return
	}
	for _, t := range g.Thresholds {
		within := ""
		if t.Distance > 0 {
			within = fmt.Sprintf(", at most %.1f from its own text", t.Distance)
		}
		if t.Gain > 0 {
			within += fmt.Sprintf(", at least %.1f nats likelier with the set", t.Gain)
		}
		line("gate", "more than %.4f after %d tokens%s", t.Score, t.Tokens, within)
	}
	for _, n := range g.Negatives {
		exact := ""
		if !n.Exact {
			exact = ", estimated: too few to count"
		}
		line("set on", "%d of %s, %d aside, quantile %.4f%s", n.Sequences, n.Text, n.Aside, n.Quantile, exact)
	}
	line("fires on", "%5.1f %% of %d sequences of its own", 100*g.Own.Rate(), g.Own.Sequences)
	for _, f := range append(g.Others, s.Newer...) {
		line("", "%5.1f %% of %d of %s", 100*f.Rate(), f.Sequences, f.Text)
	}
	for _, warning := range s.Warnings() {
		line("warning", "%s", warning)
	}
}

// printFired shows which sets were on.
func printFired(w io.Writer, fired []peft.Fired) {
	for _, f := range fired {
		fmt.Fprintf(w, "%s was on in %d sequences (%.1f %%)\n", f.Set, f.Sequences, 100*f.Share)
	}
}
