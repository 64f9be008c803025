// Ablation trains sets that differ from the default in one thing at a time, and sets with more and more experts, on a frozen
// base, and writes what came of it to DIR/ablation.json, and from there plots and a section of learning.md.
//
//	go run ./bench/ablation -work DIR -base MODEL -a A.txt -b B.txt -w OTHER.txt [-background TEXT] [-steps 100] [-do N] [-out docs]
//
// A is the text that is learned, and B that of a second set; of both nine tenths are learned and the last tenth is measured.
// W is neither. Every set is trained in a registry of its own. Each training is a unit of work that is kept in DIR when it
// is done; -do ends after that many. Sets over more experts learn A, B and W together: all three are their domain.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ablation:", err)
		os.Exit(1)
	}
}

// bench is one call of the program.
type bench struct {
	work, base, background string
	texts                  map[string]string // files, by a, b, w and, of what is learned, a-train, b-train, w-train
	steps, threads, left   int
	windows                int // of 256 tokens that are measured of each text
	units                  *record.Units[result]
}

var errEnough = errors.New("enough for now")

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("ablation", flag.ContinueOnError)
	b := &bench{texts: map[string]string{}}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results")
	f.StringVar(&b.base, "base", "builtin", "model `REF`; none: only write what there is")
	f.StringVar(&b.background, "background", "", "text `FILE` the routers are made from; none: the base's own words")
	texts := map[string]*string{}
	for _, t := range []string{"a", "b", "w"} {
		texts[t] = f.String(t, "", "text `FILE`")
	}
	f.IntVar(&b.steps, "steps", 100, "of training a set")
	f.IntVar(&b.threads, "threads", 2, "that compute")
	f.IntVar(&b.windows, "windows", 48, "of 256 tokens that are measured of each text")
	f.IntVar(&b.left, "do", -1, "units to do now; below 0: all")
	only := f.String("only", "sets,pairs,experts,gates", "experiments")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	var err error
	if b.units, err = record.Open[result](filepath.Join(b.work, "ablation.json")); err != nil {
		return err
	}
	if b.base != "" {
		for name, file := range texts {
			if err := b.split(name, *file); err != nil {
				return err
			}
		}
		err = b.experiments(ctx, strings.Split(*only, ","))
		if errors.Is(err, errEnough) {
			fmt.Fprintln(os.Stderr, "there is more to do")
			err = nil
		}
	}
	return errors.Join(err, report(b.units, *out))
}

func (b *bench) experiments(ctx context.Context, names []string) error {
	for _, e := range []struct {
		name string
		run  func(context.Context) error
	}{{"sets", b.sets}, {"pairs", b.pairs}, {"experts", b.experts}, {"gates", b.gates}} {
		if !slices.Contains(names, e.name) {
			continue
		}
		if err := e.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// do returns a unit's result, which it measures when there is none yet.
func (b *bench) do(experiment, name string, work func() (result, error)) (result, error) {
	unit := fmt.Sprintf("%s/%s/%s", strings.TrimSuffix(filepath.Base(b.base), filepath.Ext(b.base)), experiment, name)
	if _, ok := b.units.Done[unit]; !ok {
		if b.left == 0 {
			return result{}, errEnough
		}
		b.left--
	}
	return b.units.Do(unit, func() (result, error) {
		r, err := work()
		r.Steps = b.steps
		if err == nil {
			fmt.Fprintf(os.Stderr, "%s: %+v\n", unit, r)
		}
		return r, err
	})
}

// split writes the first nine tenths of a text and the last one.
func (b *bench) split(name, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("-%s: %w", name, err)
	}
	at := len(text) * 9 / 10
	for part, content := range map[string][]byte{name + "-train": text[:at], name: text[at:]} {
		path := filepath.Join(b.work, "ablation-"+part+".txt")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
		b.texts[part] = path
	}
	return nil
}
