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

// ratesTable shows what each rate of each variant reached, the best in bold.
func (b *bench) ratesTable(t *strings.Builder) {
	fmt.Fprintf(t, "\n### Learning rates\n\nOf Muon for all matrices, or of AdamW for what it trains in the feed-forward layers; %d steps, on a split of its own, seed 1. \"No router's share\" has the FLOPs that PEER has without its router.\n\n| layers | rate: perplexity |\n|---|---|\n", b.steps)
	for _, v := range b.variants {
		best := math.Inf(1)
		for _, r := range v.rates {
			if u, ok := b.units.Done[rateUnit(v, r)]; ok {
				best = min(best, u.Perplexity)
			}
		}
		var cells []string
		for _, r := range v.rates {
			u, ok := b.units.Done[rateUnit(v, r)]
			if !ok {
				continue
			}
			cell := fmt.Sprintf("%s: %.2f", rateName(r), u.Perplexity)
			if u.Perplexity == best {
				cell = "**" + cell + "**"
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(t, "| %s | %s |\n", v.name, strings.Join(cells, " · "))
	}
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
		fmt.Fprintf(t, "\n### What PEER's recipe is worth\n\nOne thing changed at a time; experts learn at %s, otherwise as above.\n\n| recipe | MFLOP a token | perplexity | experts used | KL from uniform |\n|---|---|---|---|---|\n%s\n", rateName(expertsRate), strings.Join(rows, "\n"))
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
	seeds := 0
	for _, v := range b.variants {
		short, long := b.seeds("short", v.name), b.seeds("long", v.name)
		all := slices.Concat(long, short)
		if len(all) == 0 {
			continue
		}
		r := all[0]
		speed := slices.Concat(short, long)[0].TokensPerSecond
		seeds = max(seeds, len(short))
		used, kl := r.usage()
		rows = append(rows, fmt.Sprintf("| %s | %s | %d | %d | %.3f | %s | %s | %s | %.0f | %s | %s |", v.name, rateName(r.Rate), r.Parameters, r.ActiveParameters, float64(r.FLOPs)/1e6, perplexity(short), against(short, b.seeds("short", b.variants[0].name)), perplexity(long), speed, used, kl))
		line := record.Line{Name: v.name}
		for _, p := range r.Curve {
			line.X, line.Y = append(line.X, float64(p.Tokens)), append(line.Y, p.Perplexity)
		}
		plot.Lines = append(plot.Lines, line)
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(t, "\n### Equal FLOPs and tokens\n\nEach at its best rate; %d steps (mean over %d seeds and standard deviation) and %d (one seed).\n\n| layers | rate | parameters | active | MFLOP a token | %d steps | against dense, seed by seed | %d steps | tokens/s, one thread | experts used | KL from uniform |\n|---|---|---|---|---|---|---|---|---|---|---|\n%s\n\n![variants](scratch-variants.svg)\n",
		b.steps, seeds, longer*b.steps, b.steps, longer*b.steps, strings.Join(rows, "\n"))
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
	fmt.Fprintf(t, "\n### More experts, heads and k fixed\n\nExperts learn at %s; %d steps, one seed, one thread.\n\n| experts a layer | parameters | active | MFLOP a token | perplexity | ms a step | experts used | KL from uniform |\n|---|---|---|---|---|---|---|---|\n%s\n\n![perplexity](scratch-experts.svg)\n\n![time](scratch-time.svg)\n",
		rateName(expertsRate), 2*b.steps, strings.Join(rows, "\n"))
	if err := (record.Plot{X: "experts a layer", Y: "held-out perplexity", LogX: true, Lines: []record.Line{quality}}).Save(filepath.Join(dir, "scratch-experts.svg")); err != nil {
		return err
	}
	return record.Plot{X: "experts a layer", Y: "ms a step", LogX: true, Lines: []record.Line{times}}.Save(filepath.Join(dir, "scratch-time.svg"))
}
