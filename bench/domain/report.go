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

// report writes the figures, the plots and the section.
func report(u *record.Units[result], dir string) error {
	if len(u.Done) == 0 {
		return nil
	}
	if err := u.Write(filepath.Join(dir, "domain.json")); err != nil {
		return err
	}
	all := slices.SortedFunc(maps.Values(u.Done), func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.SubKeys, b.SubKeys))
	})
	var t strings.Builder
	fmt.Fprintf(&t, "## More experts in a set over a larger domain\n\nMeasured by `go run ./bench/domain` (%s); raw figures in [domain.json](domain.json). A set learns all the texts beside a frozen base; every cell has an expert, and heads and k are the default. Perplexities of held-out text with the set on, one seed; the change is the mean of the logarithms' against no set.\n", u.Machine)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Base == all[0].Base {
			n++
		}
		if err := table(&t, all[:n], dir); err != nil {
			return err
		}
		all = all[n:]
	}
	return record.Section(filepath.Join(dir, "learning.md"), "domain", t.String())
}

// table writes the rows of one base, and draws them.
func table(t *strings.Builder, rows []result, dir string) error {
	first := rows[0]
	fmt.Fprintf(t, "\n### On %s\n\n%d layers, %d steps.\n\n| experts a layer |", first.Base, first.Layers, first.Steps)
	lines := make([]record.Line, len(first.Texts))
	before := "| none |"
	for i, c := range first.Texts {
		lines[i].Name = c.Text
		fmt.Fprintf(t, " %s |", c.Text)
		before += fmt.Sprintf(" %.2f |", c.Before)
	}
	fmt.Fprintf(t, " change | tokens/s |\n|---|%s---|---|\n%s | |\n", strings.Repeat("---|", len(lines)), before)
	for _, r := range rows {
		experts := r.SubKeys * r.SubKeys
		fmt.Fprintf(t, "| %d |", experts)
		for i, c := range r.Texts {
			lines[i].X, lines[i].Y = append(lines[i].X, float64(experts)), append(lines[i].Y, 100*(c.After/c.Before-1))
			fmt.Fprintf(t, " %.2f |", c.After)
		}
		fmt.Fprintf(t, " %+.1f %% | %.0f |\n", 100*r.mean(), r.TokensRate)
	}
	file := fmt.Sprintf("domain-%s.svg", first.Base)
	fmt.Fprintf(t, "\n![experts](%s)\n", file)
	return record.Plot{X: "experts a layer", Y: "perplexity against no set, %", LogX: true, Lines: lines}.Save(filepath.Join(dir, file))
}
