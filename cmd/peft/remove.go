package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func removeCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "delete a set with all its revisions", ArgsUsage: "NAME",
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			name := c.Args().First()
			return withEngine(c, func(e *peft.Engine) error {
				if err := e.Remove(c.Context, name); err != nil {
					return err
				}
				return result(c, map[string]any{"removed": name}, func(w io.Writer) { fmt.Fprintf(w, "removed %s\n", name) })
			})
		},
	}
}
