// Interference measures what two sets that are on at once do to each other, for several ways of placing the second.
//
//	go run ./bench/interference -base MODEL -a A.txt -b B.jsonl -w OTHER.txt -work DIR [-steps 60] [-do N]
//
// Of A and B nine tenths are learned, and a part of the last tenth is measured. Every set is trained by itself, unless it
// alternates, and knows of the earlier one only which cells that one's text selects. Sets and figures are kept in DIR as they come, so that the work can be done in pieces, -do at a time; when
// nothing is left to do, the results are printed as a table and stand in DIR/interference.json.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/record"
)

// set is one to train.
type set struct {
	Name      string  `json:"name"`
	Text      string  `json:"text"` // a or b
	Occupancy string  `json:"occupancy"`
	Share     float64 `json:"share"` // of the cells that get an expert
	Spread    int     `json:"spread,omitempty"`
	Beside    string  `json:"beside,omitempty"`    // an earlier set
	Quiet     string  `json:"quiet,omitempty"`     // another text that it is to leave alone, beside the background
	Alternate bool    `json:"alternate,omitempty"` // whether the earlier set is on for half of the tokens
}

// sets in the order in which they are trained.
var sets = []set{
	{Name: "a-full", Text: "a", Occupancy: "full", Share: 1},
	{Name: "a-half", Text: "a", Occupancy: "tfidf", Share: 0.5},
	{Name: "b-tfidf", Text: "b", Occupancy: "tfidf", Share: 0.5, Beside: "a-full"},
	{Name: "b-ratio", Text: "b", Occupancy: "ratio", Share: 0.5, Beside: "a-full"},
	{Name: "b-count", Text: "b", Occupancy: "count", Share: 0.5, Beside: "a-full"},
	{Name: "b-full", Text: "b", Occupancy: "full", Share: 1, Beside: "a-full"},
	{Name: "b-quarter", Text: "b", Occupancy: "tfidf", Share: 0.25, Beside: "a-full"},
	{Name: "b-spread", Text: "b", Occupancy: "tfidf", Share: 0.5, Spread: 2, Beside: "a-full"},
	{Name: "b-spread4", Text: "b", Occupancy: "tfidf", Share: 0.5, Spread: 4, Beside: "a-full"},
	{Name: "b-alternate", Text: "b", Occupancy: "tfidf", Share: 0.5, Spread: 2, Beside: "a-full", Alternate: true},
	{Name: "b-both", Text: "b", Occupancy: "tfidf", Share: 0.5, Spread: 2, Beside: "a-full", Quiet: "a", Alternate: true},
}

// figure is one measurement.
type figure struct {
	Text       string  `json:"text"` // a, b or w
	Sets       string  `json:"sets"` // that were on, joined by +
	Tokens     int     `json:"tokens"`
	Perplexity float64 `json:"perplexity"`
}

// results is what stands in the file.
type results struct {
	Base     string             `json:"base"`
	Steps    int                `json:"steps"`
	Sets     []set              `json:"sets"`
	Seconds  map[string]float64 `json:"seconds"` // that each set's finetune took, with its measurements
	Figures  []figure           `json:"figures"`
	Measured map[string]string  `json:"measured"` // how much of each text
}

type bench struct {
	work, base string
	texts      map[string]string // files, by a-train, a, b-train, b, w
	windows    map[string]int
	left       record.Allowance
	res        results
	file       string
}

// What is measured of each text: of the last tenth of A and B the beginning. As much again is held out for training, which
// fits the sets' caps on it.
const (
	share   = 12000 // bytes of A
	records = 24    // of B
	windows = 8     // of W, 256 tokens each
)

func main() {
	log.SetFlags(0)
	b := bench{texts: map[string]string{}, windows: map[string]int{}}
	flag.StringVar(&b.work, "work", "", "`DIR` for sets and results")
	flag.StringVar(&b.base, "base", "builtin", "the base `REF`")
	a, bb, w := flag.String("a", "", "text `FILE` of the first domain"), flag.String("b", "", ".jsonl `FILE` of the second"), flag.String("w", "", "text `FILE` that is neither")
	flag.IntVar(&b.res.Steps, "steps", 60, "of training a set")
	flag.IntVar((*int)(&b.left), "do", -1, "pieces of work to do; all when below 0")
	only := flag.String("only", "", "train and measure only `SETS`, such as a-full,b-tfidf")
	flag.Parse()
	if b.work == "" || *a == "" || *bb == "" || *w == "" {
		log.Fatal("interference: -work, -a, -b and -w are needed")
	}
	if *only != "" {
		var some []set
		for _, s := range sets {
			if strings.Contains(","+*only+",", ","+s.Name+",") {
				some = append(some, s)
			}
		}
		sets = some
	}
	err := b.run(context.Background(), *a, *bb, *w)
	switch {
	case errors.Is(err, record.ErrEnough):
		fmt.Println("there is more to do")
	case err != nil:
		log.Fatal(err)
	default:
		if err := b.save(); err != nil {
			log.Fatal(err)
		}
		b.print()
	}
}

func (b *bench) run(ctx context.Context, a, bb, w string) error {
	if err := os.MkdirAll(b.path("sets"), 0o777); err != nil {
		return err
	}
	b.file = b.path("interference.json")
	if err := b.load(); err != nil {
		return err
	}
	if err := b.split(a, bb, w); err != nil {
		return err
	}
	if err := b.router(ctx); err != nil {
		return err
	}
	for _, s := range sets {
		if err := b.train(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return b.measureAll(ctx)
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.work}, parts...)...)
}

func (b *bench) load() error {
	steps := b.res.Steps
	data, err := os.ReadFile(b.file)
	if err == nil {
		if err := json.Unmarshal(data, &b.res); err != nil {
			return err
		}
		if b.res.Base != filepath.Base(b.base) || b.res.Steps != steps {
			return fmt.Errorf("%s has figures of base %s and %d steps; use another -work", b.file, b.res.Base, b.res.Steps)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b.res.Base, b.res.Sets = filepath.Base(b.base), sets
	if b.res.Seconds == nil {
		b.res.Seconds = map[string]float64{}
	}
	return nil
}

func (b *bench) save() error { return record.Write(b.file, b.res) }

// split writes the parts of the texts that are learned and measured.
func (b *bench) split(a, bb, w string) error {
	text, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	jsonl, err := os.ReadFile(bb)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSpace(string(jsonl))+"\n", "\n")
	lines = lines[:len(lines)-1]
	n, m := len(text)*9/10, len(lines)*9/10
	if n+2*share > len(text) || m+2*records > len(lines) {
		return fmt.Errorf("%s or %s is too short: a tenth of it is not twice %d bytes or %d records", a, bb, share, records)
	}
	for name, content := range map[string]string{
		"a-train.txt": string(text[:n]), "a.txt": string(text[n : n+share]), "a-held.txt": string(text[n+share : n+2*share]),
		"b-train.jsonl": strings.Join(lines[:m], ""), "b.jsonl": strings.Join(lines[m:m+records], ""), "b-held.jsonl": strings.Join(lines[m+records:m+2*records], ""),
	} {
		b.texts[strings.TrimSuffix(name, filepath.Ext(name))] = b.path(name)
		if err := os.WriteFile(b.path(name), []byte(content), 0o666); err != nil {
			return err
		}
	}
	b.texts["w"] = w
	b.windows = map[string]int{"w": windows}
	b.res.Measured = map[string]string{"a": fmt.Sprint(share, " bytes"), "b": fmt.Sprint("the answers of ", records, " records"), "w": fmt.Sprint(windows, " windows of 256 tokens")}
	return nil
}

// open opens a registry of its own; progress goes to standard error.
func (b *bench) open(registry string) (*peft.Engine, error) {
	return peft.Open(peft.Options{Registry: registry, Base: b.base, Progress: record.Progress(registry, 10*time.Second)})
}

func (b *bench) router(ctx context.Context) (err error) {
	if _, err := os.Stat(b.path("router")); err == nil {
		return nil
	}
	if err := b.left.Take(ctx); err != nil {
		return err
	}
	tmp := b.path("making")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	e, err := b.open(tmp)
	if err != nil {
		return err
	}
	_, err = e.Init(ctx, peft.InitOptions{})
	if err = errors.Join(err, e.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, b.path("router"))
}

// copied opens a fresh copy of the registry that has only the router, runs f, and removes the copy.
func (b *bench) copied(name string, f func(e *peft.Engine) error) error {
	dir := b.path("registry-" + name)
	err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(b.path("router"))))
	if err != nil {
		return err
	}
	e, err := b.open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close(), os.RemoveAll(dir))
}

func (b *bench) exported(name string) string { return b.path("sets", name+".peft") }

func (b *bench) train(ctx context.Context, s set) error {
	if _, err := os.Stat(b.exported(s.Name)); err == nil {
		return nil
	}
	if err := b.left.Take(ctx); err != nil {
		return err
	}
	return b.copied(s.Name, func(e *peft.Engine) error {
		if s.Beside != "" {
			if _, err := e.AddExperts(ctx, s.Beside, peft.AddOptions{From: b.exported(s.Beside)}); err != nil {
				return err
			}
		}
		start := time.Now()
		o := peft.FinetuneOptions{Data: []string{b.texts[s.Text+"-train"]}, EvalData: []string{b.texts[s.Text+"-held"]}, Steps: b.res.Steps}
		if s.Quiet != "" {
			o.QuietData = []string{b.texts[s.Quiet+"-train"]}
		}
		if s.Alternate {
			o.With, o.Alternate = []string{s.Beside}, true
		}
		o.Occupancy, o.Spread = s.Occupancy, s.Spread
		if s.Occupancy != "full" {
			cells, err := b.cells()
			if err != nil {
				return err
			}
			o.Experts = int(s.Share * float64(cells))
		}
		if _, err := e.Finetune(ctx, s.Name, o); err != nil {
			return err
		}
		b.res.Seconds[s.Name] = time.Since(start).Seconds()
		if _, err := e.Export(s.Name, b.exported(s.Name)); err != nil {
			return err
		}
		return b.save()
	})
}

// cells returns the number of cells of all layers, as the first set, which has them all, has experts.
func (b *bench) cells() (cells int, err error) {
	err = b.copied("cells", func(e *peft.Engine) error {
		r, err := e.AddExperts(context.Background(), "all", peft.AddOptions{From: b.exported("a-full")})
		if err == nil {
			cells = r.Experts
		}
		return err
	})
	return cells, err
}

// measureAll measures off, every set alone, and each pair of sets for different texts.
func (b *bench) measureAll(ctx context.Context) error {
	return b.copied("all", func(e *peft.Engine) error {
		have := map[string]bool{}
		measure := func(text string, names ...string) error {
			on := strings.Join(names, "+")
			if b.figure(text, on) != nil {
				return nil
			}
			if err := b.left.Take(ctx); err != nil {
				return err
			}
			for _, n := range names {
				if !have[n] {
					if _, err := e.AddExperts(ctx, n, peft.AddOptions{From: b.exported(n)}); err != nil {
						return err
					}
					have[n] = true
				}
			}
			r, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{b.texts[text]}, Sets: names, SeqLen: 256, MaxWindows: b.windows[text]})
			if err != nil {
				return err
			}
			b.res.Figures = append(b.res.Figures, figure{text, on, r.Tokens, r.Perplexity})
			return b.save()
		}
		for _, f := range plan() {
			if err := measure(f[0], f[1:]...); err != nil {
				return err
			}
		}
		return nil
	})
}

// plan lists what is measured, each a text and the sets that are on: what the pairs are about first.
func plan() [][]string {
	var alone, pairs, others [][]string
	for _, text := range []string{"a", "b", "w"} {
		others = append(others, []string{text})
		for _, s := range sets {
			if s.Text == text {
				alone = append(alone, []string{text, s.Name})
			} else {
				others = append(others, []string{text, s.Name})
			}
		}
	}
	for _, first := range sets {
		for _, second := range sets {
			if first.Text == "a" && second.Text == "b" {
				pairs = append(pairs, []string{"b", first.Name, second.Name}, []string{"a", first.Name, second.Name})
			}
		}
	}
	return slices.Concat(alone, pairs, others)
}

func (b *bench) figure(text, on string) *figure {
	for i, f := range b.res.Figures {
		if f.Text == text && f.Sets == on {
			return &b.res.Figures[i]
		}
	}
	return nil
}

// print shows each set alone, and each pair against each of it alone.
func (b *bench) print() {
	fmt.Printf("| sets on | A | B | neither |\n|---|---|---|---|\n")
	row := func(name, on string, against map[string]string) {
		fmt.Printf("| %s |", name)
		for _, text := range []string{"a", "b", "w"} {
			f := b.figure(text, on)
			if f == nil {
				fmt.Print(" |")
				continue
			}
			fmt.Printf(" %.3f", f.Perplexity)
			if base := b.figure(text, against[text]); base != nil && base != f {
				fmt.Printf(" (%+.2f %%)", 100*(f.Perplexity/base.Perplexity-1))
			}
			fmt.Print(" |")
		}
		fmt.Println()
	}
	row("none", "", nil)
	for _, s := range sets {
		row(s.Name, s.Name, map[string]string{"a": "", "b": "", "w": ""})
	}
	for _, first := range sets {
		for _, second := range sets {
			if first.Text == "a" && second.Text == "b" {
				on := first.Name + "+" + second.Name
				row(on, on, map[string]string{"a": first.Name, "b": second.Name})
			}
		}
	}
}
