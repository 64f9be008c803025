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

// seeds are the results of one row that differ in the seed alone.
type seeds []result

// mean returns the mean, and with several seeds how far they are from it at most.
func (s seeds) mean(decimals int, of func(result) float64) string {
	var sum, most float64
	for _, r := range s {
		sum += of(r) / float64(len(s))
	}
	for _, r := range s {
		most = max(most, of(r)-sum, sum-of(r))
	}
	if len(s) == 1 {
		return fmt.Sprintf("%.*f", decimals, sum)
	}
	return fmt.Sprintf("%.*f ± %.*f", decimals, sum, decimals, most)
}

// percent returns the mean change of a text's perplexity from one choice of sets to another.
func (s seeds) percent(text, from, to string) string {
	return s.mean(1, func(r result) float64 {
		return 100 * (r.Perplexity[measured(text, to)]/r.Perplexity[measured(text, from)] - 1)
	}) + " %"
}

func (s seeds) perplexity(text, sets string) string {
	return s.mean(2, func(r result) float64 { return r.Perplexity[measured(text, sets)] })
}

// setting is what tables are made of: the rows' seeds, by name.
type setting struct {
	base  string
	steps int
	rows  map[string]seeds
}

// settings sorts the results by base and steps.
func (b *bench) settings() []setting {
	var all []setting
	for _, key := range slices.Sorted(maps.Keys(b.units.Done)) {
		r := b.units.Done[key]
		i := slices.IndexFunc(all, func(s setting) bool { return s.base == r.Base && s.steps == r.Steps })
		if i < 0 {
			i = len(all)
			all = append(all, setting{r.Base, r.Steps, map[string]seeds{}})
		}
		all[i].rows[r.Row] = append(all[i].rows[r.Row], r)
	}
	slices.SortFunc(all, func(a, b setting) int {
		return strings.Compare(fmt.Sprint(a.base, a.steps), fmt.Sprint(b.base, b.steps))
	})
	return all
}

// report writes the figures and the section of learning.md.
func (b *bench) report(dir string) error {
	if err := b.units.Write(filepath.Join(dir, resultName)); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## What each part is for\n\nMeasured by `go run ./bench/ablation` (%s); raw figures in [%s](%s). Each row differs in one thing from the first. Own is held-out text of what the set learned, other is text of neither set. Rows with ± have several seeds: it says how far one is from their mean at most.\n", b.units.Machine, resultName, resultName)
	for _, s := range b.settings() {
		fmt.Fprintf(&t, "\n### %s, %d steps\n", s.base, s.steps)
		s.single(&t)
		s.pairs(&t)
		s.gates(&t)
	}
	return record.Section(filepath.Join(dir, "learning.md"), "ablation", t.String())
}

// single writes the rows of one set alone.
func (s setting) single(t *strings.Builder) {
	head := false
	for _, r := range rows() {
		x := s.rows[r.name]
		if x == nil || r.both || x[0].Perplexity == nil {
			continue
		}
		if !head {
			fmt.Fprintf(t, "\nRouters from %s. Without a set own text has perplexity %s, other text %s.\n\n| changed | to | layers | experts | cells a token | own | against no set | other |\n|---|---|---|---|---|---|---|---|\n",
				x[0].Background, x.perplexity("own", none), x.perplexity("other", none))
			head = true
		}
		fmt.Fprintf(t, "| %s | %s | %d | %d | %d | %s | %s | %s |\n", r.group, r.name, x[0].Layers, x[0].Experts, x[0].Selections*x[0].Layers,
			x.perplexity("own", alone), x.percent("own", none, alone), x.percent("other", none, alone))
	}
}

// pairs writes what a set and an earlier one do to each other.
func (s setting) pairs(t *strings.Builder) {
	head := false
	for _, r := range rows() {
		x := s.rows[r.name]
		if x == nil || !r.both {
			continue
		}
		if !head {
			fmt.Fprint(t, "\nA set and an earlier one, changes of own and the earlier's text against that text's own set alone, of other text against no set. Gates are a softmax over a head's k scores, so both sets add up. A softmax over the experts of both that are present would give each half its gate where both have an expert in every cell: that is the row with half of each.\n\n"+
				"| trained | on | own | change | earlier's text | change | other |\n|---|---|---|---|---|---|---|\n")
			head = true
		}
		for _, sets := range []string{alone, earlier, sum, union} {
			if _, ok := x[0].Perplexity[measured("own", sets)]; ok {
				fmt.Fprintf(t, "| %s | %s | %s | %s | %s | %s | %s |\n", r.name, sets, x.perplexity("own", sets), x.percent("own", alone, sets),
					x.perplexity("earlier", sets), x.percent("earlier", earlier, sets), x.percent("other", none, sets))
			}
		}
	}
}

// gates writes how often gates fire.
func (s setting) gates(t *strings.Builder) {
	for _, r := range rows() {
		x := s.rows[r.name]
		if x == nil || len(x[0].Fires) == 0 {
			continue
		}
		fmt.Fprintf(t, "\nGates on sequences of %d tokens, by the same score on the same cells, each with its threshold at the %g %% quantile of background text, which is another part of other; %d sequences of each text; per cent:\n\n"+
			"| text | a gate for the sequence fires | a gate for each token, of all tokens | in a sequence at least once | for half of one or more |\n|---|---|---|---|---|\n", judgedTokens, 100*(1-alpha), x[0].Fires[0].Sequences)
		for i, f := range x[0].Fires {
			share := func(of func(fires) float64) string {
				return x.mean(1, func(r result) float64 { return 100 * of(r.Fires[i]) })
			}
			fmt.Fprintf(t, "| %s | %s | %s | %s | %s |\n", f.Text, share(func(f fires) float64 { return f.Sequence }), share(func(f fires) float64 { return f.Token }),
				share(func(f fires) float64 { return f.AnyToken }), share(func(f fires) float64 { return f.HalfToken }))
		}
	}
}
