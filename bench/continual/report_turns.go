package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// stages returns those that were done, by name, with their names in order.
func (p *page) stages() (names []string, all map[string]*stage) {
	all = map[string]*stage{}
	for _, d := range append(domainNames(), regated) {
		if s, ok := get[*stage](p, stageName(d)); ok {
			names, all[d] = append(names, d), s
		}
	}
	return names, all
}

// inTurn shows what users of --auto get while sets are added.
func (p *page) inTurn() {
	names, all := p.stages()
	if len(names) == 0 {
		return
	}
	off := p.offs(peftMethod)
	p.addf("\n#### Sets added one after the other, gates deciding\n\nThe first seed's sets in one registry. Every sequence is measured by itself; the gates read the first %d tokens of a plain text, or the question, which are scored with the base. Perplexity against the base after each addition, and in brackets how many of the sequences had a set on; `%s`: after `peft gate` for every set.\n\n", gateTokens, regated)
	texts := allTexts()
	p.columns(append([]string{"after"}, texts...)...)
	for _, n := range names {
		cells := []string{n}
		for _, t := range texts {
			a := all[n].Auto[t]
			on := 0
			for _, f := range a.Fired {
				on += btoi(f != "")
			}
			cells = append(cells, fmt.Sprintf("%s (%d of %d)", percent(a.NLL-off[t].NLL), on, len(a.Fired)))
		}
		p.row(cells...)
	}
	p.addf("\n")
	p.columns("after", "own sequences on which the own set was on", "other sequences with the base's bits", "added in, s", "router", "own text forced on, as when it was trained")
	var routers []string
	for i, n := range names {
		s := all[n]
		there := names[:min(i+1, len(domainNames()))]
		own, ownAll, same, others := 0, 0, 0, 0
		for _, t := range texts {
			a, d := s.Auto[t], strings.TrimSuffix(t, "/"+tested)
			if slices.Contains(there, d) {
				own, ownAll = own+a.owned(d), ownAll+len(a.Fired)
			} else {
				same, others = same+a.Same, others+len(a.Fired)
			}
		}
		bits := 0
		for _, d := range there {
			t, ok := get[*trained](p, runName(peftMethod, d, p.res.Settings.FirstSeed))
			bits += btoi(ok && d != regated && t.Texts[testOf(d)].SHA256 == s.Forced[testOf(d)].SHA256)
		}
		added := ""
		if s.Seconds > 0 {
			added = fmt.Sprintf("%.1f", s.Seconds)
		}
		routers = append(routers, s.Router)
		p.row(n, fmt.Sprintf("%d of %d", own, ownAll), fmt.Sprintf("%d of %d", same, others), added, fmt.Sprintf("%.12s…", s.Router), fmt.Sprintf("%d of %d bit for bit", bits, len(s.Forced)))
	}
	p.addf("\nOther sequences are those of domains that are not there yet, of WikiText-2 and of the base's own text. The router is %s in all. Times are by the clock, and hold what else the machine did and pauses.\n", sameOrNot(routers))
	p.untouched()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sameOrNot says whether all of the hashes are one.
func sameOrNot(hashes []string) string {
	if len(slices.Compact(slices.Sorted(slices.Values(hashes)))) == 1 {
		return "the same"
	}
	return "NOT the same"
}

// loraTurns shows one LoRA that learns the domains in turn, and the other ways to have all of them.
func (p *page) loraTurns() {
	var runs []*trained
	for _, d := range domainNames() {
		if t, ok := get[*trained](p, loraTurnName(d)); ok {
			runs = append(runs, t)
		}
	}
	if len(runs) == 0 {
		return
	}
	off := p.offs(largeLoRA)
	p.addf("\n#### One LoRA through the domains\n\n%s, trained on one domain after the other: perplexity against the base after each.\n\n", largeLoRA.title)
	p.columns(append([]string{"after"}, allTexts()...)...)
	for i, t := range runs {
		cells := []string{domainNames()[i]}
		for _, name := range allTexts() {
			cells = append(cells, percent(t.Texts[name].NLL-off[name].NLL))
		}
		p.row(cells...)
	}
	p.err = errors.Join(p.err, p.plotTurns(runs))
	p.addf("\n![turns](%s)\n\n#### All domains at once\n\nPerplexity against the base.\n\n", p.plotFile("turns"))
	p.columns(append([]string{""}, allTexts()...)...)
	add := func(title string, m method, of func(text string) (float64, bool)) {
		base, cells, any := p.offs(m), []string{title}, false
		for _, name := range allTexts() {
			cell := ""
			if nll, ok := of(name); ok {
				cell, any = percent(nll-base[name].NLL), true
			}
			cells = append(cells, cell)
		}
		if any {
			p.row(cells...)
		}
	}
	alone := func(m method) func(string) (float64, bool) {
		return func(text string) (float64, bool) {
			d := strings.TrimSuffix(text, "/"+tested)
			t, ok := get[*trained](p, runName(m, d, p.res.Settings.FirstSeed))
			if !ok {
				return 0, false
			}
			return t.Texts[text].NLL, true
		}
	}
	of := func(all map[string]figure) func(string) (float64, bool) {
		return func(text string) (float64, bool) { f, ok := all[text]; return f.NLL, ok }
	}
	last, _ := get[*stage](p, stageName(regated))
	if last != nil {
		add("peft, five sets, gates deciding", peftMethod, func(text string) (float64, bool) { return last.Auto[text].NLL, true })
	}
	add("peft, each set forced on for its own text", peftMethod, alone(peftMethod))
	merged, _ := get[map[string]figure](p, mergedName)
	switched, _ := get[map[string]figure](p, switchedName)
	add("one LoRA a domain, switched by peft's gates", largeLoRA, of(switched))
	add("one LoRA a domain, forced on for its own text", largeLoRA, alone(largeLoRA))
	add("one LoRA a domain, merged: the mean of the deltas", largeLoRA, of(merged))
	if len(runs) == len(domainNames()) {
		add("one LoRA through the domains, at the end", largeLoRA, of(runs[len(runs)-1].Texts))
	}
}

// addedInOrders shows that the order of adding does not matter, and how long adding takes.
func (p *page) addedInOrders() {
	var shas, routers []string
	for i := range orderCount {
		if o, ok := get[*order](p, orderName(i)); ok {
			shas, routers = append(shas, o.SHA256), append(routers, o.Router)
		}
	}
	if len(shas) > 0 {
		p.addf("\n#### Order\n\nThe five sets added in %d different orders, all on: logits on WikiText-2 (%.12s…) %s, routers %s.\n", len(shas), shas[0], sameOrNot(shas), sameOrNot(routers))
	}
	type added struct {
		Seconds float64 `json:"seconds"`
		Router  string  `json:"router_sha256"`
	}
	all, ok := get[[]added](p, manyName)
	if !ok {
		return
	}
	routers = nil
	for _, a := range all {
		routers = append(routers, a.Router)
	}
	p.addf("\n#### %d sets\n\nThe five again and again under other names, in one registry. The router is %s after each. Adding takes (s), the gate against all that are there included: ", len(all), sameOrNot(routers))
	for i, a := range all {
		if i > 0 {
			p.addf(", ")
		}
		p.addf("%.1f", a.Seconds)
	}
	p.addf(".\n")
}

// plotTurns draws the mean over all domains, and the first domain, while one after the other is learned.
func (p *page) plotTurns(runs []*trained) error {
	change := func(m method, of func(i int) (map[string]float64, bool)) (first, mean []float64) {
		off := p.offs(m)
		first, mean = []float64{0}, []float64{0}
		for i := range domainNames() {
			nll, ok := of(i)
			if !ok {
				break
			}
			var sum float64
			for _, d := range domainNames() {
				sum += nll[testOf(d)] - off[testOf(d)].NLL
			}
			t := testOf(domainNames()[0])
			first, mean = append(first, nll[t]-off[t].NLL), append(mean, sum/float64(len(domainNames())))
		}
		return first, mean
	}
	loraFirst, loraMean := change(largeLoRA, func(i int) (map[string]float64, bool) {
		if i >= len(runs) {
			return nil, false
		}
		all := map[string]float64{}
		for name, f := range runs[i].Texts {
			all[name] = f.NLL
		}
		return all, true
	})
	peftFirst, peftMean := change(peftMethod, func(i int) (map[string]float64, bool) {
		s, ok := get[*stage](p, stageName(domainNames()[i]))
		if !ok {
			return nil, false
		}
		all := map[string]float64{}
		for name, a := range s.Auto {
			all[name] = a.NLL
		}
		return all, true
	})
	return plotLines(filepath.Join(p.out, p.plotFile("turns")), []line{
		{"peft, gates deciding: all domains", peftMean}, {"one LoRA: all domains", loraMean},
		{"peft, gates deciding: " + domainNames()[0], peftFirst}, {"one LoRA: " + domainNames()[0], loraFirst},
	})
}
