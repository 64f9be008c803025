package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "make an earlier revision of a set the current one", ArgsUsage: "NAME",
		Flags: []cli.Flag{&cli.IntFlag{Name: "to", Usage: "the `REVISION`", DefaultText: "the current one's parent"}},
		Action: func(c *cli.Context) error {
			if err := want(c, "NAME"); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				s, err := e.Rollback(c.Context, c.Args().First(), c.Int("to"))
				if err != nil {
					return err
				}
				return result(c, s, func(w io.Writer) { fmt.Fprintf(w, "%s is now at revision %d\n", s.Name, s.Revision) })
			})
		},
	}
}
