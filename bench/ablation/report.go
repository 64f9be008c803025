package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

const resultName = "ablation.json"

// report writes the figures and the section of learning.md.
func (b *bench) report(dir string) error {
	if err := b.units.Write(filepath.Join(dir, resultName)); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## What each part is for\n\nMeasured by `go run ./bench/ablation` (%s); raw figures in [%s](%s). Each row differs in one thing from the first. Own is held-out text of what the set learned, other is text of neither set.\n", b.units.Machine, resultName, resultName)
	type setting struct {
		base  string
		steps int
		seed  uint64
	}
	seen := map[setting]bool{}
	for _, r := range b.units.Done {
		if r.Steps > 0 {
			seen[setting{r.Base, r.Steps, r.Seed}] = true
		}
	}
	settings := slices.SortedFunc(maps.Keys(seen), func(x, y setting) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	for _, s := range settings {
		of := func(r row) (result, bool) {
			res, ok := b.units.Done[fmt.Sprintf("%s/%d/%d/%s", s.base, s.steps, s.seed, r.name)]
			return res, ok
		}
		fmt.Fprintf(&t, "\n### %s, %d steps, seed %d\n", s.base, s.steps, s.seed)
		settingTable(&t, of)
		pairTable(&t, of)
		gateTable(&t, of)
	}
	return record.Section(filepath.Join(dir, "learning.md"), "ablation", t.String())
}

// settingTable writes the rows of one set alone.
func settingTable(t *strings.Builder, of func(row) (result, bool)) {
	head := false
	for _, r := range rows() {
		x, ok := of(r)
		if !ok || r.both || x.Perplexity == nil {
			continue
		}
		off, set := x.Perplexity[measured("own", none)], x.Perplexity[measured("own", alone)]
		if !head {
			fmt.Fprintf(t, "\nOwn text has perplexity %.2f without a set, other text %.2f.\n\n| changed | to | layers | experts | cells selected a token | own | | other | tokens/s |\n|---|---|---|---|---|---|---|---|---|\n", off, x.Perplexity[measured("other", none)])
			head = true
		}
		fmt.Fprintf(t, "| %s | %s | %d | %d | %d | %.2f | × %.3f | %+.1f %% | %.0f |\n", r.group, r.name, x.Layers, x.Experts, x.Selections*x.Layers, set, set/off,
			100*(x.Perplexity[measured("other", alone)]/x.Perplexity[measured("other", none)]-1), x.StepRate)
	}
}

// pairTable writes what a set and an earlier one do to each other.
func pairTable(t *strings.Builder, of func(row) (result, bool)) {
	head := false
	for _, r := range rows() {
		x, ok := of(r)
		if !ok || !r.both {
			continue
		}
		if !head {
			fmt.Fprint(t, "\nA set and an earlier one, each on its own text, the other on too: changes are against the text's own set alone. Gates of the softmax over a head's k scores add what both sets contribute; a softmax over the experts of both that are present gives each half its gate where both have an expert in every cell, which is what the last row measures.\n\n"+
				"| trained | on | own | | earlier's text | | other |\n|---|---|---|---|---|---|---|\n")
			head = true
		}
		for _, sets := range []string{alone, earlier, sum, union} {
			own, ok := x.Perplexity[measured("own", sets)]
			if !ok {
				continue
			}
			before, other := x.Perplexity[measured("earlier", sets)], x.Perplexity[measured("other", sets)]
			fmt.Fprintf(t, "| %s | %s | %.2f | %+.2f %% | %.2f | %+.2f %% | %+.1f %% |\n", r.name, sets, own, 100*(own/x.Perplexity[measured("own", alone)]-1),
				before, 100*(before/x.Perplexity[measured("earlier", earlier)]-1), 100*(other/x.Perplexity[measured("other", none)]-1))
		}
	}
}

// gateTable writes how often gates fire.
func gateTable(t *strings.Builder, of func(row) (result, bool)) {
	for _, r := range rows() {
		x, ok := of(r)
		if !ok || len(x.Fires) == 0 {
			continue
		}
		fmt.Fprintf(t, "\nGates on sequences of %d tokens, by the same score on the same cells, each with its threshold at the %g %% quantile of background text (another part of other):\n\n"+
			"| text | sequences | a gate for the sequence fires | a gate for each token fires | in a sequence at least once | for half of it |\n|---|---|---|---|---|---|\n", judgedTokens, 100*(1-alpha))
		for _, f := range x.Fires {
			fmt.Fprintf(t, "| %s | %d | %.1f %% | %.1f %% of tokens | %.1f %% | %.1f %% |\n", f.Text, f.Sequences, 100*f.Sequence, 100*f.Token, 100*f.AnyToken, 100*f.HalfToken)
		}
	}
}
