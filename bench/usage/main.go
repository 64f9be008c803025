// Usage measures how evenly a million cells are used by a router that was made without training, on a large sample of text,
// and what each part of the router's making has to do with it.
//
//	go run ./bench/usage -base MODEL -text A.txt,B.jsonl -work DIR [-tokens 131072] [-block N] [-do N] [-out docs]
//
// The text is cut into sequences, which are mixed; the documentation in the Go distribution is added to it. The base reads
// it once, as far as the block's feed-forward layer, whose inputs are kept in DIR in pieces. The first -calibrate tokens
// make the routers, the others are routed by each of them. Every piece and every router is a unit of work that is not done
// again; -do ends after that many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/bench/record"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

func main() { record.Main("usage", run) }

// bench is one call of the program.
type bench struct {
	work      string
	ref       string
	texts     []string
	goroot    string
	tokens    int    // routed by each router
	calibrate int    // that the routers are made from
	only      string // router that is measured; empty: all
	block     int    // of the base; below 0 for the middle one
	config    retrieval.Config
	seed      uint64
	left      record.Allowance
	base      *base.Base
	pool      *kernels.Pool
	units     *record.Units[result]
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("usage", flag.ContinueOnError)
	b := &bench{config: retrieval.Config{Heads: 8, TopK: 16, SubKeys: 1024}}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results and the inputs of the block")
	f.StringVar(&b.ref, "base", base.Builtin, "the base `REF`")
	text := f.String("text", "", "text `FILES`, separated by commas")
	f.StringVar(&b.goroot, "goroot", "", "`DIR` of the Go distribution to read; default: go env GOROOT")
	f.IntVar(&b.tokens, "tokens", 1<<17, "that each router routes")
	f.IntVar(&b.calibrate, "calibrate", 1<<15, "tokens that the routers are made from")
	f.IntVar(&b.block, "block", -1, "of the base; below 0: the middle one")
	f.IntVar(&b.config.SubKeys, "subkeys", b.config.SubKeys, "n of n × n cells")
	f.IntVar(&b.config.HalfDim, "half", 32, "dimensions of half a query")
	f.Uint64Var(&b.seed, "seed", 1, "of the mixing of the text and of the routers")
	f.IntVar((*int)(&b.left), "do", -1, "units of work to do now; below 0: all")
	f.StringVar(&b.only, "only", "", "`ROUTER` to measure, such as calibrated; empty: all")
	threads := f.Int("threads", min(runtime.NumCPU(), 8), "that compute")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.tokens < batch || b.tokens%batch != 0 {
		return fmt.Errorf("-tokens %d: want a multiple of %d", b.tokens, batch)
	}
	if b.work == "" || *text == "" {
		return errors.New("-work and -text are needed")
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	b.texts = strings.Split(*text, ",")
	var err error
	if b.units, err = record.Open[result](filepath.Join(b.work, resultName)); err != nil {
		return err
	}
	b.pool = kernels.NewPool(*threads)
	defer b.pool.Close()
	if b.base, err = base.Open(b.ref, base.Options{Pool: b.pool, Precision: kernels.F32}); err != nil {
		return err
	}
	defer b.base.Close()
	if b.block < 0 {
		b.block = b.base.Model.Config.Layers / 2
	}
	err = b.measure(ctx)
	return errors.Join(record.UnlessEnough(err), b.report(*out))
}

// measure does what is not done yet.
func (b *bench) measure(ctx context.Context) error {
	s, err := b.inputs(ctx)
	if err != nil {
		return err
	}
	for _, m := range makes {
		name := fmt.Sprintf("%s/%s/%d", b.base.Name, m.name, b.calibrate)
		if r, ok := b.units.Done[name]; ok && r.same(b) || b.only != "" && b.only != m.name {
			continue
		}
		if err := b.left.Take(ctx); err != nil {
			return err
		}
		delete(b.units.Done, name)
		start := time.Now()
		r, err := b.units.Do(name, func() (result, error) { return b.route(ctx, m, s) })
		if err != nil {
			return err
		}
		last := r.Curve[len(r.Curve)-1]
		record.Logf("%s: %.2f %% of the cells hit, KL %.3f, by gates %.3f; %.0f s", name, 100*last.Hit, last.KL, last.GateKL, time.Since(start).Seconds())
	}
	return nil
}
