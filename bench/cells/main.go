// Cells measures how evenly text uses the cells of a large grid when its router was calibrated and never trained, and writes
// it to DIR/cells.json, and from there a plot and a section of learning.md.
//
//	go run ./bench/cells -work DIR -base MODEL -text A.txt,B.txt [-tokens 163840] [-out docs]
//
// The base reads the texts in turns of 256 tokens up to the middle block. The router is made from the first tokens; what it
// selects for the others is counted. Four routers are compared: sub-keys at random or by clustering, of queries as they are
// or normalised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/bench/record"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cells:", err)
		os.Exit(1)
	}
}

// bench is one call of the program.
type bench struct {
	base         string
	texts        []string
	tokens, made int // read, and of those for making the router
	config       retrieval.Config
	threads      int
	seed         uint64
	units        *record.Units[result]
	states       []float32 // [tokens, hidden] once they are needed
	hidden       int
	block        int
	pool         *kernels.Pool
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("cells", flag.ContinueOnError)
	b := &bench{}
	work, out := f.String("work", "", "`DIR` that keeps results"), f.String("out", "docs", "`DIR` to write to")
	f.StringVar(&b.base, "base", "", "model `REF`; none: only write what there is")
	texts := f.String("text", "", "text `FILES`, separated by commas")
	f.IntVar(&b.tokens, "tokens", 5<<15, "read from all texts together")
	f.IntVar(&b.made, "made", 1<<15, "of them from which the router is made")
	f.IntVar(&b.config.SubKeys, "subkeys", 1024, "of each half")
	f.IntVar(&b.config.Heads, "heads", 8, "query networks")
	f.IntVar(&b.config.TopK, "topk", 16, "cells a head selects")
	f.IntVar(&b.threads, "threads", 2, "that compute")
	f.Uint64Var(&b.seed, "seed", 1, "of the routers")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *work == "" {
		return errors.New("-work is needed")
	}
	var err error
	if b.units, err = record.Open[result](filepath.Join(*work, "cells.json")); err != nil {
		return err
	}
	if b.base != "" {
		b.texts = strings.Split(*texts, ",")
		if err := b.measure(ctx); err != nil {
			return err
		}
	}
	return report(b.units, *out)
}

// measure counts what each router selects.
func (b *bench) measure(ctx context.Context) error {
	b.pool = kernels.NewPool(b.threads)
	defer b.pool.Close()
	for _, m := range modes {
		name := fmt.Sprintf("%s/%s", strings.TrimSuffix(filepath.Base(b.base), filepath.Ext(b.base)), m.name)
		_, err := b.units.Do(name, func() (result, error) {
			if b.states == nil {
				if err := b.read(ctx); err != nil {
					return result{}, err
				}
			}
			l, err := m.layer(ctx, b)
			if err != nil {
				return result{}, err
			}
			return b.count(l), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// open opens the base.
func (b *bench) open() (*base.Base, error) {
	return base.Open(b.base, base.Options{Precision: kernels.Stored, Pool: b.pool})
}
