package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a set to a file, or as another program's adapter; or the base with sets merged into it", ArgsUsage: "NAME[@REVISION] OUT",
		Description: "peft export NAME OUT            the set, for add-experts --from, or an adapter for Hugging Face PEFT or llama.cpp\n" +
			"peft export --merge A,B OUT     the base with sets merged into its weights, a model that needs neither\n" +
			"peft export --unmerge A OUT     --base, a model that A was merged into, without it; A is an adapter or a set",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"to"}, Usage: "`F` of what is written: peft; hf, a Hugging Face directory; gguf, a file for llama.cpp", DefaultText: "hf for a directory, gguf for a name in .gguf, otherwise peft"},
			&cli.StringFlag{Name: "merge", Usage: "`SETS` to merge into the base, such as a,b or a*0.5: of kind lora or ia3, always on"},
			&cli.StringFlag{Name: "unmerge", TakesFile: true, Usage: "an `ADAPTER` to take out of the base: a Hugging Face PEFT directory, a GGUF adapter or a set"},
			&cli.StringFlag{Name: "type", Usage: "`T` of a model's matrices: F32, F16, BF16 or, in GGUF, Q8_0", Value: "F16"},
			&cli.StringSliceFlag{Name: "data", TakesFile: true, Usage: "a `FILE` of text on which a written model's logits are compared with what they should be; may be repeated", DefaultText: "short passages of many kinds"},
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("merge") || c.IsSet("unmerge") {
				return exportModel(c)
			}
			if err := want(c, "NAME", "OUT"); err != nil {
				return err
			}
			if c.IsSet("type") || c.IsSet("data") {
				return usagef("export: --type and --data are for --merge and --unmerge")
			}
			name, out := c.Args().Get(0), c.Args().Get(1)
			f, err := format(c, out, peft.FormatPEFT, peft.FormatHF, peft.FormatGGUF)
			if err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				n, err := e.ExportAs(name, out, f)
				if err != nil {
					return err
				}
				return result(c, map[string]any{"set": name, "file": out, "format": f, "bytes": n}, func(w io.Writer) {
					fmt.Fprintf(w, "wrote %s to %s, %s\n", name, out, size(n))
				})
			})
		},
	}
}

// exportModel writes a whole model.
func exportModel(c *cli.Context) error {
	if c.IsSet("merge") && c.IsSet("unmerge") {
		return usagef("export: either --merge or --unmerge")
	}
	if err := want(c, "OUT"); err != nil {
		return err
	}
	out := c.Args().First()
	f, err := format(c, out, peft.FormatHF, peft.FormatGGUF)
	if err != nil {
		return err
	}
	o := peft.MergeOptions{Format: f, Type: strings.ToUpper(c.String("type")), Data: c.StringSlice("data")}
	return withEngine(c, func(e *peft.Engine) error {
		var r *peft.MergeResult
		if c.IsSet("merge") {
			r, err = e.Merge(c.Context, names(c.String("merge")), out, o)
		} else {
			r, err = e.Unmerge(c.Context, c.String("unmerge"), out, o)
		}
		if err != nil {
			return err
		}
		return result(c, r, func(w io.Writer) {
			fmt.Fprintf(w, "wrote %s, %s, %s\n", r.File, r.Type, size(r.Bytes))
			fmt.Fprintf(w, "logits of %d tokens: %.3g away in the mean, %.3g at most (accepted: a mean of %.3g; the adapters change them by %.3g)\n", r.Tokens, r.Mean, r.Max, r.Tolerance, r.Change)
		})
	})
}

// format returns the format that is asked for, or that the name of the output tells.
func format(c *cli.Context, out string, known ...peft.Format) (peft.Format, error) {
	f := known[0]
	switch st, err := os.Stat(out); {
	case c.IsSet("format"):
		f = peft.Format(c.String("format"))
	case strings.HasSuffix(out, ".gguf"):
		f = peft.FormatGGUF
	case err == nil && st.IsDir() || strings.HasSuffix(out, "/"):
		f = peft.FormatHF
	}
	if !slices.Contains(known, f) {
		return "", usagef("export: --format %s: want one of %v", f, known)
	}
	return f, nil
}
