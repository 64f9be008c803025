package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/retrieval"
)

func addExpertsCommand() *cli.Command {
	return &cli.Command{
		Name: "add-experts", Usage: "add a set of experts, placed where its data is most its own, or import one; or give a set more experts", ArgsUsage: "NAME",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringSliceFlag{Name: "data", TakesFile: true, Usage: "a `FILE` of the set's domain (.txt, .md, .jsonl); may be repeated"},
			&cli.StringFlag{Name: "from", TakesFile: true, Usage: "import a `PATH`: a file that peft export wrote, a Hugging Face PEFT directory, a GGUF adapter or a pulled one's name; of an adapter --data is a sample of its text, for its gate"},
			&cli.Float64Flag{Name: "cover", Usage: "with --from and --routed, `SHARE` of its response that an expert's cells are to have", DefaultText: "0.9"},
			&cli.StringFlag{Name: "experts", Usage: "`N` over all layers, or +N for so many more in a set there is", DefaultText: "one a cell; half of that beside other sets with --occupancy"},
			&cli.IntFlag{Name: "report-tokens", Value: 2048, Usage: "with --from, read `N` tokens of each other text to see what the set does to it; 0 for none"},
			&cli.Uint64Flag{Name: "seed", Usage: "of the experts' first values"},
			occupancyFlag(), spreadFlag(),
		}, adapterFlags()),
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			n, more, err := experts(c.String("experts"))
			if err != nil {
				return err
			}
			o := peft.AddOptions{Data: c.StringSlice("data"), From: c.String("from"), Cover: c.Float64("cover"), Adapter: adapter(c),
				Experts: n, Seed: c.Uint64("seed"), Placing: placing(c)}
			switch {
			case c.IsSet("cover") && (o.From == "" || !o.Routed || !(o.Cover > 0 && o.Cover <= 1)):
				return usagef("add-experts: --cover %g: want above 0 and at most 1, with --from and --routed", o.Cover)
			case more && (len(o.Data) > 0 || o.From != "" || o.Spread != 0):
				return usagef("add-experts: --experts %s is for a set there is, without --data, --from or --spread", c.String("experts"))
			case more:
				return withEngine(c, func(e *peft.Engine) error {
					return grow(c, e, peft.GrowOptions{Experts: n, Seed: o.Seed, Placing: o.Placing})
				})
			case len(o.Data) == 0 && o.From == "":
				return usagef("add-experts: give either --data or --from, or both for another program's adapter, or --experts +N for a set there is")
			}
			if o.ReportTokens = c.Int("report-tokens"); o.ReportTokens == 0 {
				o.ReportTokens = -1 // 0 means the default to the library
			}
			return withEngine(c, func(e *peft.Engine) error {
				r, err := e.AddExperts(c.Context, c.Args().First(), o)
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

// experts reads a number of experts; a plus in front means as many more.
func experts(s string) (n int, more bool, err error) {
	if s == "" {
		return 0, false, nil
	}
	digits, more := strings.CutPrefix(s, "+")
	n, err = strconv.Atoi(digits)
	if err != nil || n < 1 || strings.HasPrefix(digits, "+") {
		return 0, false, usagef("--experts %s: want a number of at least 1, or + and one", s)
	}
	return n, more, nil
}

func grow(c *cli.Context, e *peft.Engine, o peft.GrowOptions) error {
	s, err := e.Grow(c.Context, c.Args().First(), o)
	if err != nil {
		return err
	}
	return result(c, s, func(w io.Writer) {
		fmt.Fprintf(w, "%s@%d has %d experts, %d of them new and untrained; finetune trains them\n", s.Name, s.Revision, s.Experts, o.Experts)
	})
}

func occupancyFlag() cli.Flag {
	return &cli.StringFlag{Name: "occupancy", Usage: "`ORDER` in which cells get an expert: tfidf or ratio (most the set's own first), count, or full for all", DefaultText: string(retrieval.Default) + ", where not all cells get one"}
}

func spreadFlag() cli.Flag {
	return &cli.IntFlag{Name: "spread", Usage: "neighbouring cells `K` in which an expert can be reached too"}
}

func placing(c *cli.Context) peft.Placing {
	return peft.Placing{Occupancy: c.String("occupancy"), Spread: c.Int("spread")}
}
