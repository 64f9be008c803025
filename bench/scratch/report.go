package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

// report writes the figures, the plots and the section.
func (b *bench) report(dir string) error {
	if len(b.units.Done) == 0 {
		return nil
	}
	if err := b.units.Write(filepath.Join(dir, "scratch.json")); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, `## From scratch: PEER, a mixture, a memory and dense layers

Measured by `+"`go run ./bench/scratch`"+` (%s) on the documentation in the Go distribution; raw figures in [scratch.json](scratch.json). Models of %d layers of width %d and a vocabulary of %d; the feed-forward layers of blocks %v differ, at about as many FLOPs a token. A step has %d tokens. Perplexity is that of %d held-out tokens. Times are by the clock, and include what other work did to the machine.
`, b.units.Machine, shape.Layers, shape.Hidden, shape.Vocab, replaced, batchTokens, finalTokens)
	b.ratesTable(&t)
	b.recipeTable(&t)
	if err := b.variantsTable(&t, dir); err != nil {
		return err
	}
	if err := b.expertsTable(&t, dir); err != nil {
		return err
	}
	return record.Section(filepath.Join(dir, "learning.md"), "scratch", t.String())
}

// ratesTable shows what the rates tried for each variant reached, the best in bold.
func (b *bench) ratesTable(t *strings.Builder) {
	fmt.Fprintf(t, "\n### Learning rates\n\nMuon's for matrices / AdamW's for what it trains in the feed-forward layers: experts and sub-keys that are retrieved, a mixture's scores. AdamW's are tried at the middle one of Muon's, then Muon's at the best of them, for as many steps as the comparison has, on a split of its own, seed 1. AdamW's beta1 is %g everywhere. \"No router's share\" has the FLOPs that PEER has without its router.\n\n| layers | steps | rates: perplexity |\n|---|---|---|\n", beta1)
	for _, v := range b.variants {
		for _, steps := range []int{b.steps, longer * b.steps} {
			best, of := math.Inf(1), b.tried(v, steps)
			for _, u := range of {
				best = min(best, u.Perplexity)
			}
			var cells []string
			for _, u := range of {
				cell := fmt.Sprintf("%s: %.2f", ratesOf(u.Optimizer), u.Perplexity)
				if u.Perplexity == best {
					cell = "**" + cell + "**"
				}
				cells = append(cells, cell)
			}
			if len(cells) > 0 {
				fmt.Fprintf(t, "| %s | %d | %s |\n", v.name, steps, strings.Join(cells, " · "))
			}
		}
	}
}

// tried returns the variant's runs on the tuning split, by Muon's rate, then AdamW's.
func (b *bench) tried(v variant, steps int) (all []result) {
	for _, m := range v.muon {
		for _, a := range v.adamw {
			if u, ok := b.units.Done[rateUnit(v, rates{m, a}, steps)]; ok {
				all = append(all, u)
			}
		}
	}
	return all
}

// String returns Muon's rate and, where there is one, AdamW's.
func (r rates) String() string {
	if r.AdamW == 0 {
		return rateName(r.Muon)
	}
	return rateName(r.Muon) + " / " + rateName(r.AdamW)
}

// recipeTable shows PEER with one thing changed at a time.
func (b *bench) recipeTable(t *strings.Builder) {
	var rows []string
	for _, r := range recipes() {
		u, ok := b.units.Done["recipe/"+r.name]
		if !ok {
			continue
		}
		used, kl := u.usage()
		rows = append(rows, fmt.Sprintf("| %s | %.3f | %.2f | %s | %s |", r.name, float64(u.FLOPs)/1e6, u.Perplexity, used, kl))
	}
	if len(rows) > 0 {
		fmt.Fprintf(t, "\n### What PEER's recipe is worth\n\nOne thing changed at a time; %d steps at the best rates, otherwise as above.\n\n| recipe | MFLOP a token | perplexity | experts used | KL from uniform |\n|---|---|---|---|---|\n%s\n", b.steps, strings.Join(rows, "\n"))
	}
}

// usage returns the share of experts used and their KL divergence from uniform, means over the layers.
func (r *result) usage() (used, kl string) {
	n := float64(len(r.Usage))
	if n == 0 {
		return "", ""
	}
	var u, k float64
	for _, l := range r.Usage {
		u, k = u+l.Used/n, k+l.KL/n
	}
	return fmt.Sprintf("%.1f %%", 100*u), fmt.Sprintf("%.3f", k)
}

// seeds returns the runs of a variant in an experiment.
func (b *bench) seeds(experiment, variant string) []result {
	var all []result
	for seed := 1; ; seed++ {
		r, ok := b.units.Done[compareUnit(experiment, variant, uint64(seed))]
		if !ok {
			return all
		}
		all = append(all, r)
	}
}

// perplexity returns the mean over runs and, of several, the standard deviation.
func perplexity(runs []result) string {
	if len(runs) == 0 {
		return ""
	}
	var mean, square float64
	for _, r := range runs {
		mean += r.Perplexity / float64(len(runs))
	}
	if len(runs) == 1 {
		return fmt.Sprintf("%.2f", mean)
	}
	for _, r := range runs {
		square += (r.Perplexity - mean) * (r.Perplexity - mean) / float64(len(runs)-1)
	}
	return fmt.Sprintf("%.2f ± %.2f", mean, math.Sqrt(square))
}

// against returns how far perplexities are from those of other runs with the same seeds, one after the other.
func against(runs, others []result) string {
	var all []string
	for i, r := range runs[:min(len(runs), len(others))] {
		all = append(all, fmt.Sprintf("%+.1f %%", 100*(r.Perplexity/others[i].Perplexity-1)))
	}
	return strings.Join(all, ", ")
}

// variantsTable shows the variants at their best rates, and draws the longest run of each.
func (b *bench) variantsTable(t *strings.Builder, dir string) error {
	var rows []string
	plot := record.Plot{X: "tokens seen", Y: "held-out perplexity", LogY: true}
	for _, length := range []string{"short", "long"} {
		var lines []record.Line
		for _, v := range b.variants {
			runs := b.seeds(length, v.name)
			if len(runs) == 0 {
				continue
			}
			r := runs[0]
			used, kl := r.usage()
			rows = append(rows, fmt.Sprintf("| %s | %d | %s | %d | %d | %.3f | %s | %s | %.0f | %s | %s |", v.name, r.Steps, ratesOf(r.Optimizer), r.Parameters, r.ActiveParameters, float64(r.FLOPs)/1e6, perplexity(runs), against(runs, b.seeds(length, b.variants[0].name)), r.TokensPerSecond, used, kl))
			line := record.Line{Name: v.name}
			for _, p := range r.Curve {
				line.X, line.Y = append(line.X, float64(p.Tokens)), append(line.Y, p.Perplexity)
			}
			lines = append(lines, line)
		}
		if len(lines) > 0 {
			plot.Lines = lines
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(t, "\n### Equal FLOPs and tokens\n\nEach at its best rates for that many steps; of several seeds the mean and standard deviation.\n\n| layers | steps | rates | parameters | active | MFLOP a token | perplexity | against dense, seed by seed | tokens/s, one thread | experts used | KL from uniform |\n|---|---|---|---|---|---|---|---|---|---|---|\n%s\n\n![variants](scratch-variants.svg)\n", strings.Join(rows, "\n"))
	return plot.Save(filepath.Join(dir, "scratch-variants.svg"))
}

// expertsTable shows PEER with more and more experts, and draws perplexity and time.
func (b *bench) expertsTable(t *strings.Builder, dir string) error {
	var rows []string
	var quality, times record.Line
	for _, n := range slices.Sorted(slices.Values(subKeys)) {
		r, ok := b.units.Done[expertsUnit(n)]
		if !ok {
			continue
		}
		used, kl := r.usage()
		ms := 1000 * r.Seconds / float64(r.Steps)
		rows = append(rows, fmt.Sprintf("| %d | %d | %d | %.3f | %.2f | %.0f | %s | %s |", n*n, r.Parameters, r.ActiveParameters, float64(r.FLOPs)/1e6, r.Perplexity, ms, used, kl))
		quality.X, quality.Y = append(quality.X, float64(n*n)), append(quality.Y, r.Perplexity)
		times.X, times.Y = append(times.X, float64(n*n)), append(times.Y, ms)
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(t, "\n### More experts, heads and k fixed\n\n%d steps at the rates that were best with 4,096 experts, one seed, one thread.\n\n| experts a layer | parameters | active | MFLOP a token | perplexity | ms a step | experts used | KL from uniform |\n|---|---|---|---|---|---|---|---|\n%s\n\n![perplexity](scratch-experts.svg)\n\n![time](scratch-time.svg)\n",
		longer*b.steps, strings.Join(rows, "\n"))
	if err := (record.Plot{X: "experts a layer", Y: "held-out perplexity", LogX: true, Lines: []record.Line{quality}}).Save(filepath.Join(dir, "scratch-experts.svg")); err != nil {
		return err
	}
	return record.Plot{X: "experts a layer", Y: "ms a step", LogX: true, Lines: []record.Line{times}}.Save(filepath.Join(dir, "scratch-time.svg"))
}
