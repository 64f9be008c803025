package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

func loraTurnName(domain string) string { return "lora-turn/" + domain }

// loraInTurn trains one large LoRA through the domains, and measures every text after each.
func (b *bench) loraInTurn(ctx context.Context) error {
	if b.python == "" {
		return nil
	}
	rate, err := b.rate(largeLoRA)
	if err != nil {
		return err
	}
	from := ""
	for _, d := range domainNames() {
		to := b.path("kept", "turn-"+d)
		if _, err := piece(b, loraTurnName(d), func() (*trained, error) {
			return b.learn(ctx, job{method: largeLoRA, domain: d, seed: b.seeds[0], rate: rate, from: from, file: to, texts: allTexts()})
		}); err != nil {
			return err
		}
		from = to
	}
	return nil
}

const mergedName, switchedName = "rival/merged", "rival/switched"

// rivals makes of the first seed's LoRAs, one a domain, one model in two ways: merged, and switched by what peft's gates
// decided for every sequence.
func (b *bench) rivals(ctx context.Context) error {
	if b.python == "" {
		return nil
	}
	if _, err := piece(b, mergedName, func() (map[string]figure, error) {
		var dirs []string
		for _, d := range domainNames() {
			dir, err := b.kept(largeLoRA, d)
			if err != nil {
				return nil, err
			}
			dirs = append(dirs, dir)
		}
		to := b.path("kept", "merged")
		if err := b.ask(ctx, map[string]any{"do": "merge", "adapters": dirs, "save": to}, &struct{}{}); err != nil {
			return nil, err
		}
		s, err := b.askTexts(ctx, []string{to}, allTexts())
		return b.figures(s), err
	}); err != nil {
		return err
	}
	_, err := piece(b, switchedName, func() (map[string]figure, error) { return b.switched(ctx) })
	return err
}

// switched measures every sequence up to its prompt's end with the base, and after it with the LoRAs of the sets whose gates
// fired last.
func (b *bench) switched(ctx context.Context) (map[string]figure, error) {
	last, _, err := done[*stage](b, stageName(regated))
	if err != nil {
		return nil, err
	}
	off, _, err := done[loraOff](b, "off/lora")
	if err != nil {
		return nil, err
	}
	all := off.Sequences
	byChoice := map[string]map[string][]int{} // sequences by the sets that are on and by text
	for _, name := range allTexts() {
		for i, on := range last.Auto[name].Fired {
			if on == "" {
				continue
			}
			if byChoice[on] == nil {
				byChoice[on] = map[string][]int{}
			}
			byChoice[on][name] = append(byChoice[on][name], i)
		}
	}
	for on, texts := range byChoice {
		some, err := b.askSome(ctx, on, texts)
		if err != nil {
			return nil, err
		}
		for name, which := range texts {
			for k, i := range which {
				all[name][i][1] = some[name][k][1]
			}
		}
	}
	f := b.figures(all)
	for name := range f {
		if last.Auto[name].Fired == nil { // a text of the sweep
			delete(f, name)
		}
	}
	return f, nil
}

// askSome measures some sequences of texts with the LoRAs of several domains on, which are joined by +.
func (b *bench) askSome(ctx context.Context, on string, texts map[string][]int) (sums, error) {
	var dirs []string
	for d := range strings.SplitSeq(on, "+") {
		dir, err := b.kept(largeLoRA, d)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	files := map[string]string{}
	for name, which := range texts {
		var some []sequence
		for _, i := range which {
			some = append(some, b.texts[name].sequences[i])
		}
		files[name] = b.path("texts", fmt.Sprintf("some-%s.json", strings.ReplaceAll(name, "/", "-")))
		if err := writeJSON(files[name], map[string]any{"sequences": some}); err != nil {
			return nil, err
		}
		defer os.Remove(files[name])
	}
	var a struct{ Texts sums }
	err := b.ask(ctx, map[string]any{"do": "measure", "adapters": dirs, "texts": files}, &a)
	return a.Texts, err
}
