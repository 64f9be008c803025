// Serve measures peft serve by the requests of clients, over HTTP, and writes what came of it to DIR/serve.json, and from there
// a section of serving.md.
//
//	go run ./bench/serve -work DIR [-base MODEL] [-llama LLAMA-SERVER] [-only streams,llama,sets,prompt,job] [-rounds 5] [-out docs]
//
// streams: tokens a second of 1, 4 and 16 answers at once, of the base and of different sets. llama: the same beside
// llama.cpp's server (bench/peers/llama-server.sh builds it). sets: answers with one set, and with auto, in a registry of few
// sets and in one of a thousand more. prompt: what a long prompt costs those who are being answered, read in parts of several
// sizes. job: what training in the server costs them. Each is a unit that is kept in -work and not measured again; what is
// compared is measured by turns. The machine should do nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("serve", run) }

// bench is one call of the program.
type bench struct {
	work, base, llama string
	peft              string // the program
	threads, rounds   int
	activations       int                // of peft's server, bits
	tokens            int                // of an answer
	window            time.Duration      // of steady traffic
	never             map[string]float64 // see ends
	sets              int                // added to a registry, to see what they cost
	units             *record.Units[result]
}

// result is what a unit measured: rows of a table.
type result struct {
	Base        string `json:"base"`
	Peer        string `json:"peer,omitempty"`
	Flags       string `json:"peer_flags,omitempty"` // that the peer was started with, beside those for the model and the threads
	Threads     int    `json:"threads"`
	Activations int    `json:"activations"`     // of peft's server, bits
	Tokens      int    `json:"tokens"`          // of an answer
	Sets        int    `json:"sets,omitempty"`  // of the registry
	Added       int    `json:"added,omitempty"` // to another one, to compare with
	Rows        []row  `json:"rows"`
}

// row is what was measured of one thing, a value a round in each column.
type row struct {
	Name    string               `json:"name"`
	Streams int                  `json:"streams"`
	Values  map[string][]float64 `json:"values"`
}

// add notes a round's value.
func (r *row) add(column string, v float64) {
	if r.Values == nil {
		r.Values = map[string][]float64{}
	}
	r.Values[column] = append(r.Values[column], v)
}

// measures are the units, in order.
var measures = []struct {
	name string
	run  func(b *bench, ctx context.Context, r *result) error
}{
	{"streams", (*bench).streams}, {"llama", (*bench).against}, {"sets", (*bench).many}, {"prompt", (*bench).prompt}, {"job", (*bench).job},
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	b := &bench{}
	f.StringVar(&b.work, "work", "", "`DIR` that keeps results and registries")
	f.StringVar(&b.base, "base", "builtin", "model `REF`")
	f.StringVar(&b.llama, "llama", "", "llama.cpp's server `PROGRAM`; none leaves it out")
	f.IntVar(&b.threads, "threads", runtime.NumCPU(), "that a server computes with")
	f.IntVar(&b.activations, "activations", 16, "of peft's server, `BITS`")
	f.IntVar(&b.rounds, "rounds", 5, "by turns")
	f.IntVar(&b.tokens, "tokens", 96, "of an answer")
	f.DurationVar(&b.window, "window", 15*time.Second, "of steady traffic")
	f.IntVar(&b.sets, "sets", 1000, "that are added to a registry, to see what they cost")
	only := f.String("only", "", "`UNITS` to measure, separated by commas; none: all")
	out := f.String("out", "docs", "`DIR` to write to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.work == "" {
		return errors.New("-work is needed")
	}
	if b.llama != "" { // servers run in the directory of the work
		path, err := filepath.Abs(b.llama)
		if err != nil {
			return err
		}
		b.llama = path
	}
	for name := range strings.SplitSeq(*only, ",") {
		known := name == ""
		for _, m := range measures {
			known = known || m.name == name
		}
		if !known {
			return fmt.Errorf("-only: no unit %q", name)
		}
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	var err error
	if b.work, err = filepath.Abs(b.work); err != nil {
		return err
	}
	if _, err := os.Stat(b.base); err == nil { // a file; servers run elsewhere
		if b.base, err = filepath.Abs(b.base); err != nil {
			return err
		}
	}
	if b.units, err = record.Open[result](filepath.Join(b.work, "serve.json")); err != nil {
		return err
	}
	for _, m := range measures {
		if *only != "" && !strings.Contains(","+*only+",", ","+m.name+",") || m.name == "llama" && b.llama == "" {
			continue
		}
		if err := b.build(ctx); err != nil {
			return err
		}
		_, err := b.units.Do(m.name, func() (result, error) {
			record.Logf("%s", m.name)
			r := result{Base: strings.TrimSuffix(filepath.Base(b.base), ".gguf"), Threads: b.threads, Tokens: b.tokens, Activations: b.activations}
			return r, m.run(b, ctx, &r)
		})
		if err != nil {
			return err
		}
	}
	return report(b.units, *out)
}

// build makes the program that is measured.
func (b *bench) build(ctx context.Context) error {
	if b.peft != "" {
		return nil
	}
	path := filepath.Join(b.work, "peft")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/gopeft/peft/cmd/peft")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, said)
	}
	b.peft = path
	return nil
}
