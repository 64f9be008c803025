package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a set to a file that add-experts --from reads", ArgsUsage: "NAME[@REVISION] FILE",
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME", "FILE"); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				name, file := c.Args().Get(0), c.Args().Get(1)
				n, err := e.Export(name, file)
				if err != nil {
					return err
				}
				return result(c, map[string]any{"set": name, "file": file, "bytes": n}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s to %s, %s\n", name, file, size(n)) })
			})
		},
	}
}
