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
	"strings"

	"github.com/gopeft/peft/bench/record"
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
	if err := record.Write(filepath.Join(b.out, resultName), all); err != nil {
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
	return record.Section(filepath.Join(b.out, "learning.md"), "continual", text.String())
}

const head = `## One domain after the other, beside LoRA

Measured by ` + "`go run ./bench/continual`" + `; raw figures in [%[1]s](%[1]s). A domain is learned by every method from the same tokens in the same order, at most %[2]d a step, under the same schedule: the first eight tenths of Tiny Shakespeare, GSM8K (answers alone count), AG News, Amazon reviews and an invented manual. The last tenth is reported on. LoRA is Hugging Face PEFT's, in bf16 with the adapter in f32; peft trains in bf16 too; both measure in f32.
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
	if _, drops, _ := p.tried(quickLoRA); len(drops) > 0 {
		all = append(all, quickLoRA)
	}
	return all
}

// plotFile names a plot of this base.
func (p *page) plotFile(what string) string {
	return fmt.Sprintf("continual-%s-%s.svg", what, strings.ToLower(strings.TrimSuffix(p.res.Settings.Base, filepath.Ext(p.res.Settings.Base))))
}

// head says how it was measured, and whether both programs do the same.
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
	p.addf("\nThat both do the same: the base's NLL differs by at most %.3f %% between the two programs on any text", 100*base)
	if first > 0 {
		p.addf(", and the loss of the first batch, before anything is learned, by at most %.2f %% in their training precisions", 100*first)
	}
	p.addf(".\n")
}
