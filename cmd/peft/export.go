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
		Name: "export", Usage: "write a set to a file that add-experts --from reads, as another program's adapter", ArgsUsage: "NAME[@REVISION] OUT",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`F` of what is written: peft; hf, a Hugging Face PEFT directory; gguf, a llama.cpp adapter", DefaultText: "hf for a directory, gguf for a name in .gguf, otherwise peft"},
		},
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME", "OUT"); err != nil {
				return err
			}
			name, out := c.Args().Get(0), c.Args().Get(1)
			f := format(c.String("format"), out)
			if all := []peft.Format{peft.FormatPEFT, peft.FormatHF, peft.FormatGGUF}; !slices.Contains(all, f) {
				return usagef("export: --format %s: want one of %v", f, all)
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

// format returns the named format, or the one that the name of the output tells.
func format(name, out string) peft.Format {
	if name != "" {
		return peft.Format(name)
	}
	if st, err := os.Stat(out); err == nil && st.IsDir() || strings.HasSuffix(out, "/") {
		return peft.FormatHF
	}
	if strings.HasSuffix(out, ".gguf") {
		return peft.FormatGGUF
	}
	return peft.FormatPEFT
}
