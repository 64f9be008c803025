package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func addExpertsCommand() *cli.Command {
	return &cli.Command{
		Name: "add-experts", Usage: "add a set of experts, placed where its data is most its own, or import one", ArgsUsage: "NAME",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "data", Usage: "a `FILE` of the set's domain (.txt, .md, .jsonl); may be repeated"},
			&cli.StringFlag{Name: "from", Usage: "import a `FILE` that peft export wrote"},
			&cli.StringFlag{Name: "kind", Value: "neuron", Usage: "`KIND` of the experts"},
			&cli.IntFlag{Name: "rank", Usage: "`R` of the experts, for kinds that have one", DefaultText: "none"},
			&cli.IntFlag{Name: "experts", Usage: "`N` over all layers", DefaultText: "one a cell; half of that beside other sets"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the experts' first values"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			if (len(c.StringSlice("data")) > 0) == (c.String("from") != "") {
				return usagef("add-experts: give either --data or --from")
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.AddExperts(c.Context, c.Args().First(), peft.AddOptions{Data: c.StringSlice("data"), From: c.String("from"),
					Kind: c.String("kind"), Rank: c.Int("rank"), Experts: c.Int("experts"), Seed: c.Uint64("seed")})
				if err != nil {
					return err
				}
				return result(c, r, func(w io.Writer) {
					fmt.Fprintf(w, "added %s@%d: %d experts, %s, in %.1f s\n", r.Name, r.Revision, r.Experts, size(r.Bytes), r.Seconds)
				})
			})
		},
	}
}
