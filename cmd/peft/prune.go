package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "make a revision of a set without the experts that its own text selects least", ArgsUsage: "NAME",
		Flags: []cli.Flag{&cli.Float64Flag{Name: "keep", Value: 0.5, Usage: "`SHARE` of each layer's experts to keep"}},
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			keep := c.Float64("keep")
			if !(keep > 0 && keep <= 1) {
				return usagef("prune: --keep %g: want more than 0 and at most 1", keep)
			}
			return withEngine(c, func(e *peft.Engine) error {
				s, err := e.Prune(c.Context, c.Args().First(), keep)
				if err != nil {
					return err
				}
				return result(c, s, func(w io.Writer) {
					fmt.Fprintf(w, "%s@%d has %d experts, %s; revision %d has them all\n", s.Name, s.Revision, s.Experts, size(s.Bytes), s.Parent)
				})
			})
		},
	}
}
