package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check everything in the registry against its checksums",
		Action: func(c *cli.Context) error {
			if err := want(c); err != nil {
				return err
			}
			return withEngine(c, func(e *peft.Engine) error {
				rep, err := e.Verify(c.Context)
				if rep == nil {
					return err
				}
				if e := result(c, rep, func(w io.Writer) {
					for _, p := range rep.Problems {
						fmt.Fprintln(w, p)
					}
					fmt.Fprintf(w, "%d objects, %d revisions, %d chunks, %s: %d problems\n",
						rep.Objects, rep.Revisions, rep.Chunks, size(rep.Bytes), len(rep.Problems))
				}); e != nil {
					return e
				}
				return err
			})
		},
	}
}
