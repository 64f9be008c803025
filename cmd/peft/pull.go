package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name: "pull", Usage: "download a model or an adapter from a hub", ArgsUsage: "OWNER/NAME[@REVISION]",
		Description: "The hub is https://huggingface.co or what HF_ENDPOINT says; HF_TOKEN is sent to it and to no other host.\n" +
			"Only the needed files come: configuration, tokenizer and safetensors, an adapter's two files, or one GGUF model.\n" +
			"An interrupted pull goes on where it ended. Afterwards --base OWNER/NAME, or NAME alone, means what was pulled.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "file", Usage: "get the files that match a `GLOB`, such as '*Q4_K_M.gguf', instead of those needed"},
			&cli.StringFlag{Name: "remove", Usage: "delete what was pulled of `NAME`, all its revisions, or NAME@REVISION"},
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("remove") {
				return removePulled(c)
			}
			if err := want(c, "OWNER/NAME"); err != nil {
				return err
			}
			b, err := peft.Pull(c.Context, c.Args().First(), peft.PullOptions{
				Cache: c.String("cache"), Files: c.StringSlice("file"),
				Progress: newProgress(c.App.ErrWriter).report,
				Warn:     func(msg string) { fmt.Fprintln(c.App.ErrWriter, "peft: warning:", msg) },
			})
			if err != nil {
				return err
			}
			return result(c, b, func(w io.Writer) {
				fmt.Fprintf(w, "%s@%s: %s in %s\n", b.Name, b.Revisions[len(b.Revisions)-1], size(b.Bytes), b.Dir)
			})
		},
	}
}

func removePulled(c *cli.Context) error {
	if err := want(c); err != nil {
		return err
	}
	repo, n, err := peft.RemoveBase(c.Context, c.String("cache"), c.String("remove"))
	if err != nil {
		return err
	}
	return result(c, map[string]any{"removed": repo, "bytes": n}, func(w io.Writer) { fmt.Fprintf(w, "removed %s, %s\n", repo, size(n)) })
}

// listBases prints the bases that can be read, and fails if others cannot.
func listBases(c *cli.Context) error {
	bases, err := peft.Bases(c.String("cache"))
	if err := result(c, map[string]any{"bases": bases}, func(w io.Writer) { printBases(w, bases) }); err != nil {
		return err
	}
	return err
}

func printBases(w io.Writer, bases []peft.BaseInfo) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BASE\tKIND\tARCHITECTURE\tSIZE\tREVISION\tDIRECTORY")
	for _, b := range bases {
		revision := strings.Join(b.Revisions, ", ")
		if b.Commit != "" {
			revision += " " + b.Commit[:7]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Name, b.Kind, b.Architecture, size(b.Bytes), revision, b.Dir)
	}
	_ = t.Flush() // w is standard output; its errors show there
}
