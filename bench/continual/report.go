package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// page is one base's part of the section, from what was done.
type page struct {
	*bench
	strings.Builder
	err error
}

// report writes the figures, the plots and the section of learning.md.
func (b *bench) report() error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	all, err := b.bases()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.out, resultName), append(data, '\n'), 0o644); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, head, resultName, batchTokens)
	for _, r := range all {
		p := &page{bench: &bench{out: b.out, res: r}}
		p.head()
		p.rates()
		p.learned()
		p.bytes()
		p.inTurn()
		p.loraTurns()
		p.together()
		p.addedInOrders()
		if p.err != nil {
			return p.err
		}
		text.WriteString(p.String())
	}
	return section(filepath.Join(b.out, "learning.md"), text.String())
}

const head = `## One domain after the other, beside LoRA

Measured by ` + "`go run ./bench/continual`" + `; raw figures in [%[1]s](%[1]s). A domain is learned by every method from the same tokens in the same order, at most %[2]d a step, under the same schedule: the first eight tenths of Tiny Shakespeare, GSM8K (answers alone count), AG News, Amazon reviews and an invented manual. The last tenth is reported on. LoRA is Hugging Face PEFT's, in bf16 with the adapter in f32; peft trains in its default precision; both measure in f32.
`

// bases returns the results that were written before, those of this base replaced.
func (b *bench) bases() ([]results, error) {
	file := filepath.Join(b.out, resultName)
	var all []results
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &all)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	all = append(slices.DeleteFunc(all, func(r results) bool { return r.Settings.Base == b.res.Settings.Base }), b.res)
	slices.SortFunc(all, func(a, b results) int { return cmp.Compare(a.Settings.Base, b.Settings.Base) })
	return all, nil
}

// get returns the result of a piece of work; ok is false where it was not done.
func get[T any](p *page, name string) (T, bool) {
	v, ok, err := done[T](p.bench, name)
	p.err = errors.Join(p.err, err)
	return v, ok
}

func (p *page) addf(format string, a ...any) { fmt.Fprintf(p, format, a...) }

// row adds a row of a table.
func (p *page) row(cells ...string) { p.addf("| %s |\n", strings.Join(cells, " | ")) }

// columns adds the head of a table.
func (p *page) columns(names ...string) {
	p.row(names...)
	p.addf("%s|\n", strings.Repeat("|---", len(names)))
}

// percent is a change of perplexity for a change of NLL.
func percent(nll float64) string { return fmt.Sprintf("%+.1f %%", 100*math.Expm1(nll)) }

// offs returns the base's figures as the method's side measures them.
func (p *page) offs(m method) map[string]figure {
	all, err := p.offOf(m)
	p.err = errors.Join(p.err, err)
	return all
}

// known returns the methods for which there are figures, also when no Python is given now.
func (p *page) known() []method {
	all := []method{peftMethod}
	if _, ok := p.res.Done["off/lora"]; ok {
		all = append(all, smallLoRA, largeLoRA)
	}
	return all
}

// seedsOf returns the runs of a method on a domain that were done, the first seed first.
func (p *page) seedsOf(m method, domain string) []*trained {
	var all []*trained
	for seed := uint64(1); seed <= maxSeed; seed++ {
		if t, ok := get[*trained](p, runName(m, domain, seed)); ok {
			all = append(all, t)
		}
	}
	return all
}

// maxSeed is the largest that the page looks for.
const maxSeed = 16

// plotFile names a plot of this base.
func (p *page) plotFile(what string) string {
	return fmt.Sprintf("continual-%s-%s.svg", what, strings.ToLower(strings.TrimSuffix(p.res.Settings.Base, filepath.Ext(p.res.Settings.Base))))
}

func (p *page) head() {
	s := p.res.Settings
	p.addf("\n### %s\n\n%s", s.Base, p.res.Machine)
	if p.res.Peer.Name != "" {
		p.addf("; %s", p.res.Peer.Name)
	}
	p.addf(". %d steps in sequences of at most %d tokens; measured on %d sequences of each text, so that small differences are noise.\n", s.Steps, s.SeqLen, s.Sequences)
	if len(p.known()) == 1 {
		return
	}
	var base, first float64
	ours, theirs := p.offs(peftMethod), p.offs(largeLoRA)
	for name, f := range ours {
		base = max(base, math.Abs(theirs[name].NLL/f.NLL-1))
	}
	for _, d := range domainNames() {
		a, ok := get[*trained](p, runName(peftMethod, d, p.res.Settings.FirstSeed))
		b, too := get[*trained](p, runName(largeLoRA, d, p.res.Settings.FirstSeed))
		if ok && too {
			first = max(first, math.Abs(b.Losses[0]/a.Losses[0]-1))
		}
	}
	p.addf("\nThat both do the same: the base's NLL differs by at most %.2f %% between the two programs on any text, and the loss of the first batch, before anything is learned, by at most %.2f %% in their training precisions.\n", 100*base, 100*first)
}

func (p *page) rates() {
	p.addf("\n#### Learning rates\n\nChosen for each method by the mean drop of NLL, in nats, on the ninth tenth of %s, which nothing else is reported on.\n\n", strings.Join(sweepDomains, " and "))
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

func (p *page) learned() {
	p.addf("\n#### What is learned, and what it costs elsewhere\n\nDrop of the NLL of held-out text, in nats a token, with the set or adapter forced on: the mean over the seeds that were run, and the standard deviation.\n\n")
	methods := p.known()
	head := []string{"domain", "seeds"}
	for _, m := range methods {
		head = append(head, m.title)
	}
	p.columns(head...)
	bars := map[string][]float64{}
	for _, d := range domainNames() {
		seeds := []string{}
		cells := []string{}
		for _, m := range methods {
			v := p.dropsOn(m, d, testOf(d))
			seeds = append(seeds, strconv.Itoa(len(v)))
			cell := ""
			mean := 0.0
			if len(v) > 0 {
				cell = meanStd(v, "%.3f")
				mean, _ = moments(v)
			}
			cells, bars[m.title] = append(cells, cell), append(bars[m.title], mean)
		}
		p.row(append([]string{d, strings.Join(slices.Compact(seeds), "/")}, cells...)...)
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

func (p *page) bytes() {
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
	p.addf("\nThe mean is over the domains that were run with the first seed. Others may have used the machine meanwhile, so the speeds say little.\n")
}

// Marks around the section that belongs to this program.
const begin, end = "<!-- continual: written by bench/continual -->", "<!-- continual: end -->"

// section replaces this program's part of a Markdown file, or puts it at the end.
func section(path, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# What was learned\n")
	} else if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if found != closed {
		return fmt.Errorf("%s has only one of the marks %q and %q", path, begin, end)
	}
	if !found {
		before, after = strings.TrimRight(before, "\n")+"\n\n", "\n"
	}
	return os.WriteFile(path, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}
