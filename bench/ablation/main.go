// Ablation trains expert sets that differ in one thing each: how many cells a token selects and where, how the router was
// made, where the experts live, and what else is on. It also compares gates that decide once a sequence with gates that
// decide for every token.
//
//	go run ./bench/ablation -own A.txt -earlier B.jsonl -other W.txt -work DIR [-base MODEL] [-steps 100] [-only ROWS] [-do N] [-out docs]
//
// Of own and earlier nine tenths are learned, and the beginning of the last tenth is measured; a set of earlier is trained
// first, for the rows that ask what two sets do to each other. Each row is a unit of work that is kept in DIR when it is
// done; -do ends after that many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("ablation", run) }

// bench is one call of the program.
type bench struct {
	work, ref  string
	background string // of the routers; "self" for text that the base writes
	name       string // of the base
	steps      int
	seed       uint64
	threads    int
	windows    int // measured of each text: of about 256 tokens, or records
	left       record.Allowance
	texts      map[string]string
	units      *record.Units[result]
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("ablation", flag.ContinueOnError)
	b := &bench{texts: map[string]string{}}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results, routers and the earlier set")
	f.StringVar(&b.ref, "base", base.Builtin, "the base `REF`")
	f.StringVar(&b.background, "background", "self", "text `FILE` that routers are made from, or self")
	own := f.String("own", "", "text `FILE` that is learned")
	earlier := f.String("earlier", "", ".jsonl `FILE` that an earlier set learns")
	other := f.String("other", "", "text `FILE` that is neither")
	f.IntVar(&b.steps, "steps", 100, "of training a set")
	f.IntVar(&b.windows, "windows", 24, "measured of each text: of about 256 tokens, or records")
	f.Uint64Var(&b.seed, "seed", 1, "of the router, the experts and the order of the data")
	f.IntVar(&b.threads, "threads", runtime.NumCPU(), "that compute")
	f.IntVar((*int)(&b.left), "do", -1, "units of work to do now; below 0: all")
	only := f.String("only", "", "`ROWS` to do, separated by semicolons; empty: all")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" || *own == "" || *earlier == "" || *other == "" {
		return errors.New("-work, -own, -earlier and -other are needed")
	}
	b.name = strings.TrimSuffix(filepath.Base(b.ref), ".gguf")
	if err := b.split(*own, *earlier, *other); err != nil {
		return err
	}
	var err error
	if b.units, err = record.Open[result](filepath.Join(b.work, resultName)); err != nil {
		return err
	}
	err = b.rows(ctx, *only)
	return errors.Join(record.UnlessEnough(err), b.report(*out))
}

// rows does the rows that are not done, all or those named.
func (b *bench) rows(ctx context.Context, only string) error {
	names := strings.Split(only, ";")
	for _, r := range rows() {
		if only != "" && !slices.Contains(names, r.name) {
			continue
		}
		if _, ok := b.units.Done[b.key(r)]; ok {
			continue
		}
		if err := b.left.Take(ctx); err != nil {
			return err
		}
		start := time.Now()
		res, err := b.units.Do(b.key(r), func() (result, error) { return r.measure(b, ctx, r) })
		if err != nil {
			return err
		}
		record.Logf("%s: %.0f s, %v%v", b.key(r), time.Since(start).Seconds(), res.Perplexity, res.Fires)
	}
	return nil
}

// key names a row's result.
func (b *bench) key(r row) string { return fmt.Sprintf("%s/%d/%d/%s", b.name, b.steps, b.seed, r.name) }

// windowBytes is about what 256 tokens of a text take.
const windowBytes = 1024

// split writes the parts of the texts that are learned and measured.
func (b *bench) split(own, earlier, other string) error {
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile(own)
	if err != nil {
		return err
	}
	jsonl, err := os.ReadFile(earlier)
	if err != nil {
		return err
	}
	records := slices.Collect(strings.Lines(string(jsonl)))
	n, m := len(text)*9/10, len(records)*9/10
	for name, content := range map[string]string{
		"own-train.txt": string(text[:n]), "own-rest.txt": string(text[n:]), "own.txt": string(text[n:min(len(text), n+b.windows*windowBytes)]),
		"earlier-train.jsonl": strings.Join(records[:m], ""), "earlier.jsonl": strings.Join(records[m:min(len(records), m+b.windows)], ""),
	} {
		file := filepath.Join(b.work, name)
		b.texts[strings.TrimSuffix(name, filepath.Ext(name))] = file
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
	}
	b.texts["other"] = other
	return nil
}
