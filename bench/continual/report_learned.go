package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// seedsOf returns the runs of a method on a domain that were done, the first seed first.
func (p *page) seedsOf(m method, domain string) []*trained {
	var all []*trained
	for _, seed := range p.res.Seeds {
		if t, ok := get[*trained](p, runName(m, domain, seed)); ok {
			all = append(all, t)
		}
	}
	return all
}

// compared says whether any domain was learned yet, but for the sweep.
func (p *page) compared() bool {
	return slices.ContainsFunc(p.known(), func(m method) bool {
		return slices.ContainsFunc(domainNames(), func(d string) bool { return len(p.seedsOf(m, d)) > 0 })
	})
}

// rates shows the sweep.
func (p *page) rates() {
	p.addf("\n#### Learning rates\n\nChosen for each method by the mean drop of NLL, in nats, on the ninth tenth of %s, which nothing else is reported on.\n\n", strings.Join(p.res.Sweep, " and "))
	p.columns("method", "rate: drop", "chosen")
	for _, m := range p.known() {
		rates, drops, err := p.tried(m)
		p.err = errors.Join(p.err, err)
		var tried []string
		for i, d := range drops {
			tried = append(tried, fmt.Sprintf("%g: %.4f", rates[i], d))
		}
		chosen := "not all measured yet"
		if len(drops) == len(rates) {
			best := rates[slices.Index(drops, slices.Max(drops))]
			if chosen = fmt.Sprintf("%g", best); best == slices.Min(rates) || best == slices.Max(rates) {
				chosen += ", at the edge of what was tried"
			}
		}
		p.row(m.title, strings.Join(tried, ", "), chosen)
	}
}

// meanStd returns "mean ± standard deviation"; of one value that alone.
func meanStd(v []float64, format string) string {
	mean, std := moments(v)
	if len(v) < 2 {
		return fmt.Sprintf(format, mean)
	}
	return fmt.Sprintf(format+" ± "+format, mean, std)
}

func moments(v []float64) (mean, std float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		std += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(std / float64(max(1, len(v)-1)))
}

// dropsOn returns how much lower the runs of a method have the NLL of a text than the base.
func (p *page) dropsOn(m method, domain, text string) []float64 {
	off := p.offs(m)
	var all []float64
	for _, t := range p.seedsOf(m, domain) {
		all = append(all, off[text].NLL-t.Texts[text].NLL)
	}
	return all
}

// learned compares what the methods learn, and what other text pays for it.
func (p *page) learned() {
	if !p.compared() {
		return
	}
	p.addf("\n#### What is learned, and what it costs elsewhere\n\nDrop of the NLL of held-out text, in nats a token, with the set or adapter forced on: the mean over the seeds that were run, and the standard deviation.\n\n")
	methods := p.known()
	head := []string{"domain", "seeds"}
	for _, m := range methods {
		head = append(head, m.title)
	}
	p.columns(head...)
	bars, missing := map[string][]float64{}, false
	for _, d := range domainNames() {
		var seeds, cells []string
		for _, m := range methods {
			v := p.dropsOn(m, d, testOf(d))
			seeds = append(seeds, strconv.Itoa(len(v)))
			cell := ""
			if len(v) > 0 {
				cell = meanStd(v, "%.3f")
			}
			missing = missing || len(v) == 0
			mean, _ := moments(v)
			cells, bars[m.title] = append(cells, cell), append(bars[m.title], mean)
		}
		p.row(append([]string{d, strings.Join(slices.Compact(seeds), "/")}, cells...)...)
	}
	mean := []string{"mean", ""}
	for _, m := range methods {
		v, _ := moments(bars[m.title])
		mean = append(mean, fmt.Sprintf("%.3f", v))
	}
	if !missing {
		p.row(mean...)
	}
	p.addf("\n![drops](%s)\n\nPerplexity of other text with the set or adapter forced on, against the base, mean over the domains and seeds, and the worst:\n\n", p.plotFile("learned"))
	p.columns(append([]string{"text"}, head[2:]...)...)
	for _, text := range otherTexts() {
		cells := []string{text}
		for _, m := range methods {
			var v []float64
			for _, d := range domainNames() {
				for _, drop := range p.dropsOn(m, d, text) {
					v = append(v, -drop)
				}
			}
			cell := ""
			if len(v) > 0 {
				mean, _ := moments(v)
				cell = fmt.Sprintf("%s, worst %s", percent(mean), percent(slices.Max(v)))
			}
			cells = append(cells, cell)
		}
		p.row(cells...)
	}
	p.err = errors.Join(p.err, plotLearned(filepath.Join(p.out, p.plotFile("learned")), methods, bars))
}

// bytes compares what the methods store, and how fast they learn.
func (p *page) bytes() {
	if !p.compared() {
		return
	}
	p.addf("\n#### Bytes and time\n\nStored: of peft all that belongs to the set, its gate and its sample of held-out text among it; of LoRA its matrices in bf16.\n\n")
	p.columns("method", "trained parameters", "bytes", "tokens/s of the steps", "mean drop")
	row := func(title string, runs []*trained, drops []float64) {
		if len(runs) == 0 {
			return
		}
		var rate []float64
		most := int64(0)
		for _, t := range runs {
			rate, most = append(rate, float64(t.Tokens)/t.Seconds), max(most, t.Bytes)
		}
		mean, _ := moments(drops)
		speed, _ := moments(rate)
		p.row(title, strconv.Itoa(runs[0].Parameters), strconv.FormatInt(most, 10), fmt.Sprintf("%.0f", speed), fmt.Sprintf("%.3f", mean))
	}
	for _, m := range p.known() {
		var runs []*trained
		var drops []float64
		for _, d := range domainNames() {
			if t, ok := get[*trained](p, runName(m, d, p.res.Settings.FirstSeed)); ok {
				runs, drops = append(runs, t), append(drops, p.offs(m)[testOf(d)].NLL-t.Texts[testOf(d)].NLL)
			}
		}
		row(m.title, runs, drops)
	}
	var runs []*trained
	var drops []float64
	for _, d := range domainNames() {
		if t, ok := get[*trained](p, smallName(d)); ok {
			runs, drops = append(runs, t), append(drops, p.offs(peftMethod)[testOf(d)].NLL-t.Texts[testOf(d)].NLL)
		}
	}
	row("peft, as many experts as the bytes of LoRA r=8 hold", runs, drops)
	p.addf("\nThe mean is over the domains that were run with the first seed. Methods may have run on different machines, and others on them meanwhile, so the speeds say little.\n")
}
