package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "write the whole registry to one file", ArgsUsage: "FILE",
		Action: func(c *cli.Context) error {
			if err := want(c, "FILE"); err != nil {
				return err
			}
			file := c.Args().First()
			return withEngine(c, func(e *peft.Engine) error {
				n, err := e.Backup(file)
				if err != nil {
					return err
				}
				return result(c, map[string]any{"file": file, "bytes": n}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s, %s\n", file, size(n)) })
			})
		},
	}
}

func restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make a registry from a backup (--registry must be empty)", ArgsUsage: "FILE",
		Action: func(c *cli.Context) error {
			if err := want(c, "FILE"); err != nil {
				return err
			}
			rep, err := peft.Restore(c.Context, c.String("registry"), c.Args().First())
			if err != nil {
				return err
			}
			return result(c, rep, func(w io.Writer) {
				fmt.Fprintf(w, "restored %d objects, %d revisions, %s\n", rep.Objects, rep.Revisions, size(rep.Bytes))
			})
		},
	}
}
