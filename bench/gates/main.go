// Gates measures on what text the gates of sets fire that were made without knowing it, and what a gate's distance and its asking
// whether the set helps keep out that its score would let in.
//
//	go run ./bench/gates -base MODEL.gguf -data DIR -work DIR [-other NAME=FILE]... [-prompts 100] [-steps 12] [-out docs]
//
// -data is the directory of domains that bench/continual has prepared in its -work. Each has a set by itself, trained on
// the part that is learned; its gate judges prompts of what is left of each domain, and of the other files, such as testdata's
// questions about anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/internal/study"
)

func main() { study.Main("gates", run) }

// promptTokens is how long prompts of plain text are.
const promptTokens = 64

// text is what gates are asked about.
type text struct {
	name           string
	learned, asked []string     // files; of other texts nothing is learned
	prompts        [2][][]int32 // as they are, and as a user's message
}

// judged is what a gate made of a text's prompts.
type judged struct {
	Text    string `json:"text"`
	Chat    bool   `json:"chat,omitempty"` // asked as a user's message
	Prompts int    `json:"prompts"`
	Fired   int    `json:"fired"`
	Unlike  int    `json:"unlike"` // whose score passes, and whose distance does not
	Vain    int    `json:"vain"`   // that pass otherwise, and that the set makes too little likelier
}

func run(ctx context.Context) error {
	f := flag.NewFlagSet("gates", flag.ContinueOnError)
	s := study.Flags(f, "gates")
	data := f.String("data", "", "`DIR` of domains, as bench/continual writes it")
	var texts []*text
	f.Func("other", "another text, `NAME=FILE`; may be repeated", func(v string) error {
		name, file, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want NAME=FILE")
		}
		texts = append(texts, &text{name: name, asked: []string{file}})
		return nil
	})
	most := f.Int("prompts", 100, "of each text")
	steps := f.Int("steps", 12, "of training a set")
	if err := f.Parse(os.Args[1:]); err != nil {
		return err
	}
	domains, err := readDomains(*data)
	if err != nil {
		return err
	}
	texts = append(domains, texts...)
	if err := s.Open(map[string]any{"prompts": *most, "tokens": promptTokens, "steps": *steps}); err != nil {
		return err
	}
	for _, d := range domains {
		if _, err := study.Do(ctx, s, d.name, func() ([]judged, error) { return gate(ctx, s, d, texts, *most, *steps) }); err != nil {
			return errors.Join(err, report(s, domains, texts))
		}
	}
	return report(s, domains, texts)
}

// readDomains finds the domains and their parts.
func readDomains(dir string) (all []*text, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("-data: %w", err)
	}
	for _, e := range entries {
		t := &text{name: e.Name()}
		for pattern, files := range map[string]*[]string{"train*": &t.learned, "gate*": &t.asked} {
			if *files, err = filepath.Glob(filepath.Join(dir, e.Name(), pattern)); err != nil || len(*files) == 0 {
				return nil, fmt.Errorf("-data %s: no %s in %s, %w", dir, pattern, e.Name(), errors.Join(err, os.ErrNotExist))
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// gate trains a domain's set in a registry of its own, and asks its gate about all texts.
func gate(ctx context.Context, s *study.Study, d *text, texts []*text, most, steps int) (all []judged, err error) {
	name := "registry-" + d.name
	if err := os.RemoveAll(s.Path(name)); err != nil {
		return nil, err
	}
	e, err := s.Registry(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close(), os.RemoveAll(s.Path(name))) }()
	if _, err := e.Finetune(ctx, d.name, peft.FinetuneOptions{Data: d.learned, Steps: steps, ReportTokens: -1}); err != nil {
		return nil, err
	}
	for _, t := range texts {
		if t.prompts[0] == nil {
			if t.prompts, err = read(e, t.asked, most); err != nil {
				return nil, err
			}
		}
		for i, prompts := range t.prompts {
			j := judged{Text: t.name, Chat: i == 1}
			for _, p := range prompts {
				r, err := e.Generate(ctx, peft.GenerateOptions{PromptIDs: p, Auto: true, MaxTokens: 1}, nil)
				if err != nil {
					return nil, err
				}
				for _, g := range r.Gates { // none of a prompt that is too short to judge
					j.Prompts++
					if g.Fired {
						j.Fired++
					}
					if g.Unlike {
						j.Unlike++
					}
					if g.Vain {
						j.Vain++
					}
				}
			}
			all = append(all, j)
		}
	}
	return all, nil
}

// read returns a text's prompts: of records what comes before the answer, of other text pieces of promptTokens; from all over
// it. As messages, records are their questions alone.
func read(e *peft.Engine, files []string, most int) (prompts [2][][]int32, err error) {
	b, err := e.Base()
	if err != nil {
		return prompts, err
	}
	data, err := tune.ReadFiles(b.Tokenizer, files, false)
	if err != nil {
		return prompts, err
	}
	seqs := data.Sequences(promptTokens)
	for i, s := range seqs {
		if at := slices.Index(s.Learned, true); at > 1 { // a record
			seqs[i].Tokens = s.Tokens[:at+1]
		}
	}
	for _, s := range tune.Spread(seqs, most*promptTokens) {
		message := tune.AskedIn(strings.TrimSpace(b.Tokenizer.Decode(s.Tokens)))
		prompts[0] = append(prompts[0], s.Tokens)
		text, err := b.Tokenizer.ApplyChat([]tokenizer.Message{{Role: "user", Content: message}}, true)
		if errors.Is(err, tokenizer.ErrUnsupported) { // a base without a template
			continue
		}
		if err != nil {
			return prompts, err
		}
		prompts[1] = append(prompts[1], b.Tokenizer.Encode(text, true))
	}
	return prompts, nil
}
