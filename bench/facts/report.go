package main

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/bench/internal/study"
)

// report writes the figures, the plot and the section of the page from the units that are done.
func (b *bench) report() error {
	if err := b.Publish(); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "## Facts in other words\n\nMeasured by `go run ./bench/facts` (%s); raw figures in [facts.json](facts.json). Invented facts, each learned in up to three wordings (a tenth of the records is held back); asked once in a wording that was not learned, answered greedily in at most %d tokens, right when the answer contains the right words. One seed.\n", b.Machine(), b.NewTokens)
	if b.Has("lora") {
		text.WriteString("LoRA is Hugging Face PEFT, r = 16 on all linear projections, with the same records, steps and tokens, always on.\n")
	}
	for _, write := range []func(*strings.Builder) error{b.writeTuning, b.writeRecall, b.writeTexts} {
		if err := write(&text); err != nil {
			return err
		}
	}
	return b.Section(text.String())
}

// writeTuning writes what the recipes gave on the facts they are chosen on.
func (b *bench) writeTuning(text *strings.Builder) error {
	fmt.Fprintf(text, "\nRecipes are chosen on other facts, steps of %d tokens:\n\n| | passes | tokens | loss | right | right, gate decides |\n|---|---|---|---|---|---|\n", b.Batch)
	for _, r := range b.recipes {
		t, ok, err := study.Get[tried](b.Study, tryKey(r))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		auto := ""
		if t.Auto.Asked > 0 {
			auto = fmt.Sprintf("%.2f (fired for %d of %d)", t.Auto.share(), t.Auto.Fired, t.Auto.Asked)
		}
		fmt.Fprintf(text, "| %s | %g | %d | %.3f | %.2f | %s |\n", r.Name, r.Passes, t.Tokens, t.Loss, t.On.share(), auto)
	}
	return nil
}

// measuredModes are what is measured on the facts that are reported.
var measuredModes = []struct{ key, name string }{{"base", "the base alone"}, {"auto", "the set, its gate decides"}, {"on", "the set, always on"}, {"lora", "LoRA"}}

// recall returns what a mode gave; false while it is missing.
func (b *bench) recall(mode string) (recall, bool, error) {
	if mode == "lora" {
		l, ok, err := study.Get[loraTried](b.Study, "lora")
		return l.recall, ok, err
	}
	return study.Get[recall](b.Study, "recall/"+mode)
}

func (b *bench) writeRecall(text *strings.Builder) error {
	trained, ok, err := study.Get[study.Trained](b.Study, "train")
	if err != nil || !ok {
		return err
	}
	best, _, err := study.Get[recipe](b.Study, chosenKey(false))
	if err != nil {
		return err
	}
	fmt.Fprintf(text, "\nBy the best of them (%s), %d tokens for the set", best.Name, trained.Tokens)
	l, ok, err := study.Get[loraTried](b.Study, "lora")
	if err != nil {
		return err
	}
	if ok {
		best, _, err := study.Get[recipe](b.Study, chosenKey(true))
		if err != nil {
			return err
		}
		fmt.Fprintf(text, ", and %d for LoRA (%s)", l.Tokens, best.Name)
	}
	text.WriteString(":\n\n| | asked | right | share |\n|---|---|---|---|\n")
	var names []string
	bar := study.Bar{Name: "right"}
	for _, m := range measuredModes {
		r, ok, err := b.recall(m.key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		fired := ""
		if m.key == "auto" {
			fired = fmt.Sprintf("; fired for %d", r.Fired)
		}
		fmt.Fprintf(text, "| %s%s | %d | %d | %.2f |\n", m.name, fired, r.Asked, r.Right, r.share())
		names, bar.Values = append(names, m.name), append(bar.Values, r.share())
	}
	if len(names) == 0 {
		return nil
	}
	text.WriteString("\n![recall](facts.svg)\n")
	return b.Bars("facts.svg", "share of questions answered", names, []study.Bar{bar})
}

func (b *bench) writeTexts(text *strings.Builder) error {
	var table strings.Builder
	for _, name := range textNames {
		off, ok, err := study.Get[perplexity](b.Study, "text/"+name+"/base")
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		line := fmt.Sprintf("| %s, %d windows | %.2f |", map[string]string{wiki: "WikiText-2", sampled: "sampled from the base"}[name], off.Windows, off.Perplexity)
		for _, mode := range []string{"auto", "on"} {
			t, ok, err := study.Get[perplexity](b.Study, "text/"+name+"/"+mode)
			if err != nil {
				return err
			}
			if ok {
				line += fmt.Sprintf(" %+.2f %%", 100*(t.Perplexity/off.Perplexity-1))
			}
			if ok && mode == "auto" {
				line += fmt.Sprintf(", silent on %d", t.Windows-t.Fired)
			}
			line += " |"
		}
		l, ok, err := study.Get[loraTried](b.Study, "lora")
		if err != nil {
			return err
		}
		if ok {
			line += fmt.Sprintf(" %+.2f %%", 100*(l.Perplexity[name]/l.Base[name]-1))
		}
		table.WriteString(line + " |\n")
	}
	if table.Len() > 0 {
		text.WriteString("\nPerplexity of other text, and its change:\n\n| | base | the set, its gate decides | the set, always on | LoRA, against its base in bf16 |\n|---|---|---|---|---|\n" + table.String())
	}
	return nil
}
