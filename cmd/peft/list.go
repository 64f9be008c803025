package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the expert sets, or the bases",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "bases", Usage: "list the built-in base and what was pulled"}},
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			if c.Bool("bases") {
				return listBases(c)
			}
			return withEngine(c, func(e *peft.Engine) error {
				sets, err := e.List()
				if err != nil {
					return err
				}
				return result(c, map[string]any{"sets": sets}, func(w io.Writer) { printSets(w, sets) })
			})
		},
	}
}

func historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "list a set's revisions", ArgsUsage: "NAME",
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				revs, err := e.History(c.Args().First())
				if err != nil {
					return err
				}
				return result(c, map[string]any{"revisions": revs}, func(w io.Writer) { printSets(w, revs) })
			})
		},
	}
}

func printSets(w io.Writer, sets []*peft.SetInfo) {
	if len(sets) == 0 {
		fmt.Fprintln(w, "no expert sets; add one with peft add-experts or peft finetune")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SET\tKIND\tEXPERTS\tSIZE\tTRAINED\tPERPLEXITY\tBASE\tCREATED")
	for _, s := range sets {
		trained, ppl := "no", ""
		if tr := s.Training; tr != nil {
			trained = fmt.Sprintf("%d steps", tr.Steps)
			ppl = fmt.Sprintf("%.2f → %.2f", tr.Before.Target, tr.After.Target)
		}
		fmt.Fprintf(t, "%s@%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Revision, s.Kind, s.Experts, size(s.Bytes), trained, ppl,
			s.Base, s.Created.Local().Format(time.DateTime))
	}
	_ = t.Flush() // w is standard output; its errors show there
}

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
