// Continual measures what peft is for: whether a set of experts learns a domain as well as LoRA does in the same steps on the
// same tokens, and what becomes of all else when one domain after the other is learned.
//
//	go run ./bench/continual -base MODEL.gguf -python PYTHON -shakespeare F -gsm8k F -agnews F -amazon F -manual DIR \
//	        -wikitext F -work DIR [-steps 24] [-seeds 1,2,3] [-minutes 6] [-out docs]
//
// Of every domain the first eight tenths are learned, learning rates are chosen on the next tenth, and the last is
// reported on. LoRA is Hugging Face PEFT's, run by lora.py with PYTHON; without one only peft is measured. Every piece of
// work is kept in DIR when it is done, and not done again; with -minutes no further one begins after so long, and the
// program ends with status 3 when there is more. The figures, plots and a section of learning.md are written to -out from
// what there is, also by -render alone; what they have of other bases stays.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/record"
)

func main() {
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, record.ErrEnough):
		log.Print(record.ErrEnough)
		os.Exit(3)
	case err != nil:
		log.Print("continual: ", err)
		os.Exit(1)
	}
}

// bench is one call of the program.
type bench struct {
	base, work, out string
	python          string
	threads         int
	files           map[string]string // of the domains and other texts
	seeds           []uint64
	sweepOn         []string  // domains by which learning rates are chosen
	until           time.Time // no piece of work begins after it; zero for no end
	res             results
	texts           map[string]*text // that are measured, by name
	domains         map[string]domainFiles
	tok             *tokenizer.Tokenizer
	lora            *worker // nil while it was not needed
}

func run(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("continual", flag.ContinueOnError)
	b := &bench{files: map[string]string{}, texts: map[string]*text{}}
	f.StringVar(&b.base, "base", "builtin", "the base `REF`: builtin or a .gguf file")
	f.StringVar(&b.python, "python", "", "`PROGRAM` with what bench/peers/requirements.txt names; empty: no LoRA")
	f.IntVar(&b.threads, "threads", runtime.NumCPU(), "that compute, on both sides")
	f.StringVar(&b.work, "work", "", "`DIR` for sets, adapters and figures")
	f.StringVar(&b.out, "out", "docs", "`DIR` to write the results to")
	for _, name := range append(domainNames(), "wikitext") {
		f.Func(name, "`FILE` of this text", func(v string) error { b.files[name] = v; return nil })
	}
	s := &b.res.Settings
	f.IntVar(&s.Steps, "steps", 24, "of training a domain")
	f.IntVar(&s.SeqLen, "seq-len", 128, "tokens of a sequence, at most")
	f.IntVar(&s.Sequences, "sequences", 24, "of each text that are measured")
	seeds := f.String("seeds", "1,2,3", "of the order of the data and of the adapters; the first does the continual part")
	sweep := f.String("sweep", sweepDomains, "domains by whose tune split learning rates are chosen")
	minutes := f.Float64("minutes", 0, "after which no further piece of work begins; 0: none")
	render := f.Bool("render", false, "write the results there are, and measure nothing")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	for s := range strings.SplitSeq(*seeds, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		if err != nil {
			return fmt.Errorf("-seeds %q: %w", *seeds, err)
		}
		b.seeds = append(b.seeds, n)
	}
	if b.sweepOn = strings.Split(*sweep, ","); slices.ContainsFunc(b.sweepOn, func(d string) bool { return !slices.Contains(domainNames(), d) }) {
		return fmt.Errorf("-sweep %q: want some of %q", *sweep, domainNames())
	}
	b.res.Settings.FirstSeed = b.seeds[0]
	if *minutes > 0 {
		b.until = time.Now().Add(time.Duration(*minutes * float64(time.Minute)))
	}
	if err := b.open(); err != nil {
		return err
	}
	if !*render {
		err = errors.Join(b.measure(ctx), b.lora.close())
	}
	if err != nil && !errors.Is(err, record.ErrEnough) {
		return err
	}
	return errors.Join(err, b.report())
}

// measure does all there is to do, what the others need first.
func (b *bench) measure(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.off(ctx); err != nil {
		return fmt.Errorf("the base alone: %w", err)
	}
	first, later := b.seeds[:1], b.seeds[1:]
	main, rest := []method{peftMethod}, []method(nil)
	if b.python != "" { // what is compared first
		main, rest = []method{peftMethod, largeLoRA}, []method{smallLoRA, quickLoRA}
	}
	for _, piece := range []func() error{
		func() error { return b.sweep(ctx, main) },
		func() error { return b.compare(ctx, first, main) },
		func() error { return b.addInTurn(ctx) },
		func() error { return b.sweep(ctx, rest) },
		func() error { return b.compare(ctx, first, rest) },
		func() error { return b.loraInTurn(ctx) },
		func() error { return b.rivals(ctx) },
		func() error { return b.pairs(ctx) },
		func() error { return b.orders(ctx) },
		func() error { return b.many(ctx) },
		func() error { return b.small(ctx) },
		func() error { return b.compare(ctx, later, slices.Concat(main, rest)) },
	} {
		if err := piece(); err != nil {
			return err
		}
	}
	return nil
}
