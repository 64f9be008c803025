package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/gopeft/peft"
)

// How the sets of a pair were trained: each by itself, or each beside those before it, which were on for half of the
// tokens and whose text it left alone.
const (
	byItself = "pair"
	beside   = "beside"
)

func pairName(how, first, second string) string { return fmt.Sprintf("%s/%s+%s", how, first, second) }

func besideName(domain string) string { return beside + "/" + domain }

// pairs measures the texts of two domains with both sets forced on, for sets that were trained in either way.
func (b *bench) pairs(ctx context.Context) error {
	if err := b.eachPair(ctx, byItself, b.turns); err != nil {
		return err
	}
	for i, d := range domainNames() {
		if _, err := piece(b, besideName(d), func() (*trained, error) { return b.learnBeside(ctx, d, domainNames()[:i]) }); err != nil {
			return err
		}
	}
	return b.eachPair(ctx, beside, b.besides)
}

func (b *bench) eachPair(ctx context.Context, how string, open func() (*peft.Engine, error)) error {
	names := domainNames()
	for i, first := range names {
		for _, second := range names[i+1:] {
			if _, err := piece(b, pairName(how, first, second), func() (all map[string]figure, err error) {
				e, err := open()
				if err != nil {
					return nil, err
				}
				all, err = b.forced(ctx, e, []string{first, second}, []string{testOf(first), testOf(second)})
				return all, errors.Join(err, e.Close())
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// besides opens the registry in which each set is trained beside the earlier ones.
func (b *bench) besides() (*peft.Engine, error) { return b.lasting("besides") }

// learnBeside trains a domain's set in the registry of the earlier ones.
func (b *bench) learnBeside(ctx context.Context, domain string, earlier []string) (t *trained, err error) {
	rate, err := b.rate(peftMethod)
	if err != nil {
		return nil, err
	}
	e, err := b.besides()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := removeLeft(ctx, e, domain); err != nil {
		return nil, err
	}
	o := b.finetune(job{domain: domain, seed: b.seeds[0], rate: rate})
	o.With, o.Alternate, o.QuietPassages = earlier, len(earlier) > 0, true
	for _, d := range earlier {
		o.QuietData = append(o.QuietData, b.domains[d].train...)
	}
	return b.learned(ctx, e, domain, o, append([]string{testOf(domain)}, otherTexts()...))
}

// together shows pairs of sets that are both on.
func (p *page) together() {
	p.pairs(byItself, "each by itself", func(d string) string { return runName(peftMethod, d, p.res.Settings.FirstSeed) },
		"The sets were trained by themselves, with an expert in every cell.")
	p.pairs(beside, "beside each other", besideName,
		"Each set was trained in one registry beside the earlier ones: in half of the cells, those most its own (the default with `--with`); the earlier ones were on for half of the tokens (`--with`, `--alternate`), and it was quiet on their text (`--quiet-data`) and on passages of many kinds (`--quiet-passages`).")
}

// pairs shows the pairs of sets that were trained in one way, which it says in short and at length.
func (p *page) pairs(how, title string, alone func(domain string) string, more string) {
	off, most := p.offs(peftMethod), math.Inf(-1)
	var rows [][]string
	for i, first := range domainNames() {
		for _, second := range domainNames()[i+1:] {
			both, ok := get[map[string]figure](p, pairName(how, first, second))
			if !ok {
				continue
			}
			row := []string{first + " + " + second}
			for _, d := range []string{first, second} {
				t, _ := get[*trained](p, alone(d))
				change := both[testOf(d)].NLL - t.Texts[testOf(d)].NLL
				most = max(most, change)
				row = append(row, fmt.Sprintf("%s (alone %s against the base)", percent(change), percent(t.Texts[testOf(d)].NLL-off[testOf(d)].NLL)))
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return
	}
	p.addf("\n#### Two sets on at once, trained %s\n\nPerplexity of each one's text with both forced on, against its own set alone; the worst is %s. %s\n\n",
		title, percent(most), more)
	p.columns("sets", "text of the first", "text of the second")
	for _, r := range rows {
		p.row(r...)
	}
}
