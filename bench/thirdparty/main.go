// Thirdparty imports a LoRA that was trained elsewhere, always on and taken apart into cells in several ways, and writes
// what each does to its own text and to other text to DIR/thirdparty.json, and from there a section of learning.md.
//
//	go run ./bench/thirdparty -work DIR -text OWN.txt -other OTHER.txt [-base MODEL] [-background TEXT] [-do N] [-out docs]
//
// The adapter is trained on the first nine tenths of OWN as by peft finetune --kind lora, written as Hugging Face PEFT has
// it, removed, and imported. Each way is a unit of work that is kept in DIR when it is done; -do
// ends after that many.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("thirdparty", run) }

// bench is one call of the program.
type bench struct {
	work, base, background string
	learned, sample        string // the training text, and the part of it that imports are given
	texts                  []text // that are measured: the own one and another
	steps, threads         int
	windows                int // of 256 tokens that are measured of each text
	left                   record.Allowance
	units                  *record.Units[result]
}

type text struct{ name, file string }

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("thirdparty", flag.ContinueOnError)
	b := &bench{}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results")
	f.StringVar(&b.base, "base", "builtin", "model `REF`")
	f.StringVar(&b.background, "background", "", "text `FILE` the router is made from; none: the base's own words")
	own := f.String("text", "", "text `FILE` of the adapter; none: only write what there is")
	other := f.String("other", "", "another text `FILE`")
	f.IntVar(&b.steps, "steps", 30, "of training the adapter")
	f.IntVar(&b.threads, "threads", 2, "that compute")
	f.IntVar(&b.windows, "windows", 32, "of 256 tokens that are measured of each text")
	f.IntVar((*int)(&b.left), "do", -1, "ways to measure now; below 0: all")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	var err error
	if b.units, err = record.Open[result](filepath.Join(b.work, "thirdparty.json")); err != nil {
		return err
	}
	if *own != "" {
		if err := b.split(*own, *other); err != nil {
			return err
		}
		err = record.UnlessEnough(b.ways(ctx))
	}
	return errors.Join(err, report(b.units, *out))
}

// sampleBytes is how much of the adapter's text an import is given.
const sampleBytes = 100_000

// split writes the first nine tenths of the own text, the end of those, and the last tenth.
func (b *bench) split(own, other string) error {
	content, err := os.ReadFile(own)
	if err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(b.work, name+".txt") }
	at := len(content) * 9 / 10
	b.learned, b.sample = in("learned"), in("sample")
	b.texts = []text{{"own", in("measured")}, {"other", other}}
	return errors.Join(
		os.WriteFile(b.learned, content[:at], 0o644),
		os.WriteFile(b.sample, content[max(0, at-sampleBytes):at], 0o644),
		os.WriteFile(in("measured"), content[at:], 0o644))
}
