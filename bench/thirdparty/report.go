package main

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

// report writes the figures and the section.
func report(u *record.Units[result], dir string) error {
	if len(u.Done) == 0 {
		return nil
	}
	if err := u.Write(filepath.Join(dir, "thirdparty.json")); err != nil {
		return err
	}
	all := slices.SortedFunc(maps.Values(u.Done), func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Order, b.Order))
	})
	var t strings.Builder
	fmt.Fprintf(&t, `## Another program's LoRA, always on and in cells

Measured by `+"`go run ./bench/thirdparty`"+` (%s); raw figures in [thirdparty.json](thirdparty.json). The adapter, a LoRA of rank 8 on all linear layers, was trained without a router or a penalty on Tiny Shakespeare, written as Hugging Face PEFT has it, and imported without training. In cells, each singular direction of a layer's B·A is an expert; it stands where %s. Perplexities of windows of 256 tokens, of held-out Shakespeare and of WikiText-2, with the set on and where its gate decides; one seed.
`, u.Machine, "a sample of 100 kB of the training text selects cells and makes it respond and the background does not select them, in as many cells as have that share of its response (without a sample: where the background's tokens make it respond most)")
	base := ""
	for i, r := range all {
		if r.Base != base {
			base = r.Base
			fmt.Fprintf(&t, "\n### On %s\n\n%d steps of training. Without the adapter: own text %.2f, other text %.2f.\n\n", base, r.Steps, r.Texts[0].Off, r.Texts[1].Off)
			t.WriteString("| imported | experts | own, on | other, on | own, auto | windows | other, auto | windows |\n|---|---|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&t, "| %s | %d |", r.Way, r.Experts)
		for _, c := range r.Texts {
			fmt.Fprintf(&t, " %.2f (%+.1f %%) |", c.On, 100*(c.On/c.Off-1))
		}
		for _, c := range r.Texts {
			bits := ""
			if c.Same {
				bits = ", the base's bits"
			}
			fmt.Fprintf(&t, " %.2f%s | %.0f %% |", c.Auto, bits, 100*c.Fired)
		}
		t.WriteString("\n")
		if i+1 == len(all) || all[i+1].Base != base {
			if m := missing(u, base); len(m) > 0 {
				fmt.Fprintf(&t, "\nNot measured on %s: %s.\n", base, strings.Join(m, "; "))
			}
		}
	}
	return record.Section(filepath.Join(dir, "learning.md"), "thirdparty", t.String())
}

// missing returns the ways that were not measured on a base.
func missing(u *record.Units[result], base string) (names []string) {
	for _, w := range allWays {
		if _, ok := u.Done[base+"/"+w.name]; !ok {
			names = append(names, w.name)
		}
	}
	return names
}
