// Claims puts what the experiments have found beside what was promised, at the top of learning.md, from the raw figures that
// they have written beside it.
//
//	go run ./bench/claims [-docs docs]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

func main() { record.Main("claims", run) }

func run(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("claims", flag.ContinueOnError)
	docs := flags.String("docs", "docs", "`DIR` of the figures and of learning.md")
	if err := flags.Parse(args); err != nil {
		return err
	}
	d, err := read(*docs)
	if err != nil {
		return err
	}
	text := table(d.claims())
	fmt.Print(text)
	return record.Section(filepath.Join(*docs, "learning.md"), "claims", "## What was promised, and what was found\n\nBy `go run ./bench/claims`, from the raw figures of the experiments below, which say how each was measured; small samples and few seeds unless they say otherwise, and with what were the defaults of `peft finetune` then: decisions [11](decisions/0011-learning-rate.md) and [16](decisions/0016-aimed-experts.md) changed them since facts, classification, twenty sets and sets on the built-in base were measured, [9](decisions/0009-where-experts-live.md) since classification and twenty sets were.\n\n"+text)
}

// claim is one promise. What was found is empty where nothing was measured yet.
type claim struct {
	what, reach, found string
	holds              bool
	soFar              bool // and more is to be measured
}

func table(all []claim) string {
	var t strings.Builder
	t.WriteString("| claim | to reach | found | reached |\n|---|---|---|---|\n")
	for _, c := range all {
		reached := map[bool]string{true: "yes", false: "**no**"}[c.holds]
		switch {
		case c.found == "":
			reached = "not measured yet"
		case c.holds && c.soFar:
			reached = "so far"
		}
		fmt.Fprintf(&t, "| %s | %s | %s | %s |\n", c.what, c.reach, c.found, reached)
	}
	return t.String()
}

// figures are what the experiments wrote: of each its pieces of work by name.
type figures map[string]map[string]json.RawMessage

// get returns a piece of an experiment's work, and whether it was done.
func get[T any](f figures, of, piece string) (v T, ok bool) {
	data, ok := f[of][piece]
	ok = ok && json.Unmarshal(data, &v) == nil
	return v, ok
}

// read reads those there are.
func read(docs string) (figures, error) {
	all := figures{}
	for _, name := range []string{"continual", "classify", "facts", "usage", "scratch", "domain"} {
		data, err := os.ReadFile(filepath.Join(docs, name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		type pieces struct {
			Done  map[string]json.RawMessage `json:"done"`
			Units map[string]json.RawMessage `json:"units"`
		}
		var p []pieces // continual has one for each base
		if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
			data = append(append([]byte("["), data...), ']')
		}
		if err := json.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("%s.json: %w", name, err)
		}
		all[name] = map[string]json.RawMessage{}
		for _, one := range p {
			for _, m := range []map[string]json.RawMessage{one.Done, one.Units} {
				for k, v := range m {
					all[name][k] = v
				}
			}
		}
	}
	return all, nil
}
