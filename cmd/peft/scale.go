package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func scaleFlag() cli.Flag {
	return &cli.Float64Flag{Name: "scale", Value: 1, Usage: "multiply what each set contributes by `X`, in this run alone; after a name in --sets, *X does it for that set"}
}

// setsOn reads the sets of a request, each with its strength.
func setsOn(c *cli.Context) []string {
	sets := names(c.String("sets"))
	if x := c.Float64("scale"); x != 1 {
		for i := range sets {
			sets[i] += fmt.Sprintf("*%g", x)
		}
	}
	return sets
}
