package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

// report writes the figures, the plots and the section.
func report(u *record.Units[result], dir string) error {
	if len(u.Done) == 0 {
		return nil
	}
	if err := u.Write(filepath.Join(dir, "ablation.json")); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## One thing changed at a time\n\nMeasured by `go run ./bench/ablation` (%s); raw figures in [ablation.json](ablation.json). One seed. Perplexities of held-out text: A is what the set learned, W is other text; changes in per cent are against no set.\n", u.Machine)
	bases := map[string]bool{}
	for name := range u.Done {
		base, _, _ := strings.Cut(name, "/")
		bases[base] = true
	}
	for _, base := range slices.Sorted(maps.Keys(bases)) {
		p := page{u, base + "/", dir, &t}
		if err := p.write(base); err != nil {
			return err
		}
	}
	return record.Section(filepath.Join(dir, "learning.md"), "ablation", t.String())
}

// page is the part of one base.
type page struct {
	u      *record.Units[result]
	prefix string
	dir    string
	t      *strings.Builder
}

func (p page) write(base string) error {
	fmt.Fprintf(p.t, "\n### On %s\n", base)
	p.sets()
	p.pairs()
	p.gates()
	return p.experts(base)
}

// of returns the names of an experiment's units that are done.
func (p page) of(experiment string) []string {
	var names []string
	for name := range p.u.Done {
		if rest, ok := strings.CutPrefix(name, p.prefix+experiment+"/"); ok {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names
}

func (p page) get(experiment, name string) result { return p.u.Done[p.prefix+experiment+"/"+name] }

func change(r result, text, sets string) string {
	return fmt.Sprintf("%+.1f %%", 100*(r.on(text, sets)/r.on(text, "")-1))
}

func (p page) sets() {
	if len(p.of("sets")) == 0 {
		return
	}
	first := true
	for _, a := range ablations(0) {
		r, ok := p.u.Done[p.prefix+"sets/"+a.what+"/"+a.name]
		if !ok {
			continue
		}
		if first {
			first = false
			fmt.Fprintf(p.t, "\n%d steps of 1,024 tokens. Perplexity of A with no set %.2f, of W %.2f.\n\n| what | value | experts | A | W | tokens/s | router, s |\n|---|---|---|---|---|---|---|\n", r.Steps, r.on("a", ""), r.on("w", ""))
		}
		fmt.Fprintf(p.t, "| %s | %s | %d | %.2f | %s | %.0f | %.1f |\n", a.what, a.name, r.Experts, r.on("a", "a"), change(r, "w", "a"), r.TokensRate, r.Router)
	}
}

func (p page) pairs() {
	names := p.of("pairs")
	if len(names) == 0 {
		return
	}
	fmt.Fprint(p.t, "\nTwo sets with an expert in every cell. A softmax over all experts that are present in the selected cells would give each set half of its gates (last columns); gates that know no experts leave the first set's contribution as it is.\n\n| second set trained | A, first on | A, both on | B, second on | B, both on | W, both on | A, halved gates | B, halved gates |\n|---|---|---|---|---|---|---|---|\n")
	for _, n := range names {
		r := p.get("pairs", n)
		fmt.Fprintf(p.t, "| %s | %.2f | %.2f | %.2f | %.2f | %s | %.2f | %.2f |\n", n, r.on("a", "a"), r.on("a", "a+b"), r.on("b", "b"), r.on("b", "a+b"), change(r, "w", "a+b"), r.on("a", "a*0.5+b*0.5"), r.on("b", "a*0.5+b*0.5"))
	}
}

func (p page) gates() {
	for _, n := range p.of("gates") {
		g := p.get("gates", n).Gate
		fmt.Fprintf(p.t, "\nA gate for every token against one for a sequence of %d tokens, of which the first %d are judged; both thresholds are passed by one in a hundred of the scores of half of W.\n\n| text | sequences | tokens that pass | sequences in which a token passes | the same of %d tokens | sequences that pass |\n|---|---|---|---|---|---|\n", seqTokens, judgedTokens, longTokens)
		for _, f := range g.Texts {
			fmt.Fprintf(p.t, "| %s | %d | %.1f %% | %.1f %% | %.1f %% | %.1f %% |\n", f.Text, f.Sequences, 100*f.Tokens, 100*f.AnyToken, 100*f.AnyLong, 100*f.Judged)
		}
	}
}

func (p page) experts(base string) error {
	var counts []int
	for _, n := range p.of("experts") {
		if v, err := strconv.Atoi(n); err == nil {
			counts = append(counts, v)
		}
	}
	if len(counts) == 0 {
		return nil
	}
	slices.Sort(counts)
	texts := []string{"a", "b", "w"}
	lines := make([]record.Line, len(texts))
	for i, t := range texts {
		lines[i].Name = strings.ToUpper(t)
	}
	steps := 3 * p.get("experts", strconv.Itoa(counts[0])).Steps
	fmt.Fprintf(p.t, "\nMore experts in a set over a larger domain, A, B and W together, %d steps, heads and k as they are; perplexities with the set on, and their mean change (of the logarithms) against no set:\n\n| experts a layer | A | B | W | change | tokens/s |\n|---|---|---|---|---|---|\n", steps)
	for _, n := range counts {
		r := p.get("experts", strconv.Itoa(n))
		for i, t := range texts {
			lines[i].X, lines[i].Y = append(lines[i].X, float64(n*n)), append(lines[i].Y, 100*(r.on(t, "a")/r.on(t, "")-1))
		}
		fmt.Fprintf(p.t, "| %d | %.2f | %.2f | %.2f | %s | %.0f |\n", n*n, r.on("a", "a"), r.on("b", "a"), r.on("w", "a"), r.meanChange(texts), r.TokensRate)
	}
	file := fmt.Sprintf("ablation-experts-%s.svg", base)
	fmt.Fprintf(p.t, "\n![more experts](%s)\n", file)
	return record.Plot{X: "experts a layer", Y: "perplexity against no set, %", LogX: true, Lines: lines}.Save(filepath.Join(p.dir, file))
}
