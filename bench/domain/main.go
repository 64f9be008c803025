// Domain trains sets with more and more experts on a larger domain, beside a frozen base, and writes what came of it to
// DIR/domain.json, and from there a plot and a section of learning.md.
//
//	go run ./bench/domain -work DIR -text A.txt,B.txt,C.txt [-base MODEL] [-background TEXT] [-steps 300] [-do N] [-out docs]
//
// The texts are the domain: of each nine tenths are learned, and the last tenth is measured. Every set has an expert in
// every cell, of routers that differ in the number of sub-keys alone. Each set is a unit of work that is kept in DIR when it
// is done; -do ends after that many.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("domain", run) }

// bench is one call of the program.
type bench struct {
	work, base, background string
	texts                  []text
	steps, threads         int
	left                   record.Allowance
	windows                int // of 256 tokens that are measured of each text
	units                  *record.Units[result]
}

// text is a part of the domain, in two files.
type text struct{ name, learned, measured string }

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("domain", flag.ContinueOnError)
	b := &bench{}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results")
	f.StringVar(&b.base, "base", "builtin", "model `REF`")
	f.StringVar(&b.background, "background", "", "text `FILE` the routers are made from; none: the base's own words")
	texts := f.String("text", "", "text `FILES`, separated by commas; none: only write what there is")
	f.IntVar(&b.steps, "steps", 300, "of training a set")
	f.IntVar(&b.threads, "threads", 2, "that compute")
	f.IntVar(&b.windows, "windows", 48, "of 256 tokens that are measured of each text")
	f.IntVar((*int)(&b.left), "do", -1, "sets to train now; below 0: all")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	var err error
	if b.units, err = record.Open[result](filepath.Join(b.work, "domain.json")); err != nil {
		return err
	}
	if *texts != "" {
		for file := range strings.SplitSeq(*texts, ",") {
			if err := b.split(file); err != nil {
				return err
			}
		}
		err = record.UnlessEnough(b.sets(ctx))
	}
	return errors.Join(err, report(b.units, *out))
}

// split writes the first nine tenths of a text and the last one.
func (b *bench) split(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	t := text{name, filepath.Join(b.work, name+"-learned.txt"), filepath.Join(b.work, name+"-measured.txt")}
	at := len(content) * 9 / 10
	b.texts = append(b.texts, t)
	return errors.Join(os.WriteFile(t.learned, content[:at], 0o644), os.WriteFile(t.measured, content[at:], 0o644))
}
