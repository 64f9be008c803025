package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

const resultName = "usage.json"

// report writes the figures, a plot for each base and the section of learning.md.
func (b *bench) report(dir string) error {
	if err := b.units.Write(filepath.Join(dir, resultName)); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## Even use of a million cells\n\nMeasured by `go run ./bench/usage` (%s); raw figures in [%s](%s). Nothing is trained here: a router is made from the inputs of one block's feed-forward layer for some text, and other text of the same mixture is routed by it. "+
		"Hit is the share of the cells that were selected at least once; KL is the divergence from uniform, in nats, of the selections and of the cells' summed gates. The last row shows what as many selections drawn uniformly would give.\n", b.units.Machine, resultName, resultName)
	var bases []string
	for _, r := range b.units.Done {
		if !slices.Contains(bases, r.Base) {
			bases = append(bases, r.Base)
		}
	}
	slices.Sort(bases)
	for _, name := range bases {
		if err := b.table(&t, dir, name); err != nil {
			return err
		}
	}
	return record.Section(filepath.Join(dir, "learning.md"), "usage", t.String())
}

// table writes what was measured of one base.
func (b *bench) table(t *strings.Builder, dir, name string) error {
	plot, head := record.Plot{X: "tokens routed", Y: "cells hit, %", LogX: true}, false
	for _, m := range makes {
		var of []result // by how many tokens they are made from
		for _, r := range b.units.Done {
			if r.Base == name && r.Queries == m.queried && r.Keys == m.keyed {
				of = append(of, r)
			}
		}
		slices.SortFunc(of, func(a, b result) int { return a.Calibrate - b.Calibrate })
		for i, r := range of {
			last := r.Curve[len(r.Curve)-1]
			if !head {
				head = true
				fmt.Fprintf(t, "\n### %s, block %d\n\n%d × %d cells, %d heads, k = %d, half queries of %d dimensions; %d tokens routed, %d selections.\n\n"+
					"| queries | sub-keys | made from tokens | hit | KL | KL by gates | busiest cell's share | tokens until 99 %% are hit |\n|---|---|---|---|---|---|---|---|\n",
					name, r.Block, r.Config.SubKeys, r.Config.SubKeys, r.Config.Heads, r.Config.TopK, r.Config.HalfDim, last.Tokens, last.Selections)
			}
			until, queries, from, gates := "not reached", m.queried, strconv.Itoa(r.Calibrate), fmt.Sprintf("%.3f", last.GateKL)
			if r.Tokens99 > 0 {
				until = strconv.Itoa(r.Tokens99)
			}
			if m.name == uniformName {
				queries, from, gates = m.name, "", ""
			}
			fmt.Fprintf(t, "| %s | %s | %s | %.2f %% | %.3f | %s | %.2g | %s |\n", queries, m.keyed, from, 100*last.Hit, last.KL, gates, last.Max, until)
			if i < len(of)-1 || m.keys == tokens { // as many lines as can be told apart
				continue
			}
			line := record.Line{Name: m.name}
			for _, p := range r.Curve {
				line.X, line.Y = append(line.X, float64(p.Tokens)), append(line.Y, 100*p.Hit)
			}
			plot.Lines = append(plot.Lines, line)
		}
	}
	file := fmt.Sprintf("usage-%s.svg", name)
	fmt.Fprintf(t, "\n![cells hit](%s)\n", file)
	return plot.Save(filepath.Join(dir, file))
}
