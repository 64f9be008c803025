package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

// report writes the figures, the plot and the section.
func report(u *record.Units[result], dir string) error {
	if len(u.Done) == 0 {
		return nil
	}
	if err := u.Write(filepath.Join(dir, "cells.json")); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## How evenly a million cells are used\n\nMeasured by `go run ./bench/cells` (%s); raw figures in [cells.json](cells.json). The router of the base's middle block is made from text and not trained; counted is what it selects for other tokens of the same mix. The KL divergence is from uniform, in nats: of selections, and of gates summed a cell, as arXiv 2407.04153 defines it. \"Even\" is what as many selections would give if each fell anywhere with the same chance.\n", u.Machine)
	bases := map[string]bool{}
	for name := range u.Done {
		base, _, _ := strings.Cut(name, "/")
		bases[base] = true
	}
	for _, base := range slices.Sorted(maps.Keys(bases)) {
		file := fmt.Sprintf("cells-%s.svg", base)
		text, plot := section(u, base)
		fmt.Fprintf(&t, "\n%s\n![%s](%s)\n", text, base, file)
		if err := plot.Save(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return record.Section(filepath.Join(dir, "learning.md"), "cells", t.String())
}

// section returns one base's table and plot.
func section(u *record.Units[result], base string) (string, record.Plot) {
	var t strings.Builder
	plot := record.Plot{X: "tokens", Y: "cells hit, %", LogX: true}
	head := false
	for _, m := range modes {
		r, ok := u.Done[base+"/"+m.name]
		if !ok {
			continue
		}
		last := r.Curve[len(r.Curve)-1]
		cells := r.Config.Cells()
		if !head {
			head = true
			fmt.Fprintf(&t, "### %s, block %d\n\n%d cells, %d heads, k = %d; made from %d tokens, %d others of %s, %.1f M selections, %.1f a cell.\n\n", base, r.Block, cells, r.Config.Heads, r.Config.TopK,
				r.Made, last.Tokens, strings.Join(r.Texts, ", "), float64(last.Selections)/1e6, float64(last.Selections)/float64(cells))
			t.WriteString("| router | cells hit | KL, selections | KL, gates | busiest cell, × even | tokens to hit 90 % | 95 % | 99 % |\n|---|---|---|---|---|---|---|---|\n")
			even := record.Line{Name: "even"}
			for _, p := range r.Curve {
				even.X, even.Y = append(even.X, float64(p.Tokens)), append(even.Y, 100*p.even(cells))
			}
			plot.Lines = append(plot.Lines, even)
			fmt.Fprintf(&t, "| even | %.2f %% | | | | %s | %s | %s |\n", 100*last.even(cells), evenTokens(r, 0.9), evenTokens(r, 0.95), evenTokens(r, 0.99))
		}
		line := record.Line{Name: m.name}
		for _, p := range r.Curve {
			line.X, line.Y = append(line.X, float64(p.Tokens)), append(line.Y, 100*p.Hit)
		}
		plot.Lines = append(plot.Lines, line)
		fmt.Fprintf(&t, "| %s | %.2f %% | %.3f | %.3f | %.0f | %s | %s | %s |\n", m.name, 100*last.Hit, last.KL, last.GateKL, last.Max, reached(r, 0.9), reached(r, 0.95), reached(r, 0.99))
	}
	return t.String(), plot
}
