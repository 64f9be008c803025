package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/tokenizer"
)

// text is some sequences that both sides measure, each in a file of its own.
type text struct {
	name      string
	files     []string
	json      string // the same tokens for lora.py
	sequences []sequence
}

// sequence is one as lora.py reads it: Learned[i] says whether Tokens[i+1] counts.
type sequence struct {
	Tokens  []int32 `json:"tokens"`
	Learned []bool  `json:"learned"`
	Prompt  int     `json:"prompt,omitempty"` // tokens by which gates decide
}

func (s *sequence) count() (n int) {
	for _, l := range s.Learned {
		if l {
			n++
		}
	}
	return n
}

func (t *text) tokens() (n int) {
	for _, s := range t.sequences {
		n += s.count()
	}
	return n
}

// Texts beside those of the domains.
const (
	wikitext   = "wikitext"
	background = "background" // sampled from the base
)

// measured is the longest sequence that is measured as one window, in tokens: text is cut to the settings' length before,
// records to this.
const measured = 512

// gateTokens of a plain text decide whose it is, as in peft.EvalOptions.
const gateTokens = 64

// testOf names the text that a domain is reported on.
func testOf(domain string) string { return domain + "/" + tested }

// otherTexts are nobody's domain.
func otherTexts() []string { return []string{wikitext, background} }

// allTexts returns the names of all texts that are reported on.
func allTexts() []string {
	var all []string
	for _, d := range domainNames() {
		all = append(all, testOf(d))
	}
	return append(all, otherTexts()...)
}

// prepareTexts writes what is measured.
func (b *bench) prepareTexts(ctx context.Context, e *peft.Engine, bs *base.Base, domains map[string]*domain) error {
	for name, d := range domains {
		for _, split := range []string{tuned, tested} {
			if err := b.addText(bs.Tokenizer, name+"/"+split, splitOf(d, split)); err != nil {
				return err
			}
		}
	}
	data, err := os.ReadFile(b.files[wikitext])
	if err != nil {
		return fmt.Errorf("-%s: %w", wikitext, err)
	}
	if err := b.addText(bs.Tokenizer, wikitext, []part{{".txt", []string{string(data)}}}); err != nil {
		return err
	}
	samples, err := piece(b, "samples", func() ([]string, error) { return b.sample(ctx, e, b.res.Settings.Sequences, 1<<20) })
	if err != nil {
		return err
	}
	return b.writeText(bs.Tokenizer, background, ".txt", samples)
}

func splitOf(d *domain, split string) []part {
	var parts []part
	for _, p := range d.parts {
		parts = append(parts, part{p.ext, p.split(split)})
	}
	return parts
}

// addText takes sequences evenly from all over the parts, as many of each.
func (b *bench) addText(tok *tokenizer.Tokenizer, name string, parts []part) error {
	n := b.res.Settings.Sequences / len(parts)
	for _, p := range parts {
		all := p.pieces
		if p.ext == ".txt" {
			all = chunks(tok, strings.Join(p.pieces, ""), b.res.Settings.SeqLen)
		}
		if err := b.writeText(tok, name, p.ext, evenly(all, n)); err != nil {
			return err
		}
	}
	return nil
}

// evenly returns n of all, from all over them, or all when there are no more.
func evenly(all []string, n int) []string {
	n = min(n, len(all))
	some := make([]string, n)
	for i := range some {
		some[i] = all[i*len(all)/n]
	}
	return some
}

// chunks cuts a text into pieces of so many tokens; the rest is left.
func chunks(tok *tokenizer.Tokenizer, text string, tokens int) []string {
	ids := tok.Encode(text, false)
	var all []string
	for at := 0; at+tokens <= len(ids); at += tokens {
		if c := strings.ToValidUTF8(tok.Decode(ids[at:at+tokens]), ""); strings.TrimSpace(c) != "" {
			all = append(all, c)
		}
	}
	return all
}

// writeText adds sequences to a text, each in a file, and the tokens of all of them in one that lora.py reads.
func (b *bench) writeText(tok *tokenizer.Tokenizer, name, ext string, pieces []string) error {
	t := b.texts[name]
	if t == nil {
		t = &text{name: name, json: b.path("texts", strings.ReplaceAll(name, "/", "-")+".json")}
		b.texts[name] = t
	}
	dir := b.path("texts", filepath.FromSlash(name))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, p := range pieces {
		file := filepath.Join(dir, fmt.Sprintf("%03d%s", len(t.files), ext))
		if err := os.WriteFile(file, []byte(p), 0o666); err != nil {
			return err
		}
		d, err := tune.ReadFiles(tok, []string{file}, false)
		if err != nil {
			return err
		}
		r := append(d.Docs, d.Records...)[0]
		if len(r.Tokens) > measured {
			continue
		}
		s := sequence{Tokens: r.Tokens, Learned: r.Trained[1:], Prompt: gateTokens}
		if ext == ".jsonl" {
			s.Prompt = firstTrained(r.Trained)
		}
		t.files, t.sequences = append(t.files, file), append(t.sequences, s)
	}
	return writeJSON(t.json, map[string]any{"sequences": t.sequences})
}

// firstTrained returns the first token that is learned: all before it are the prompt.
func firstTrained(trained []bool) int {
	for i, t := range trained {
		if t {
			return i
		}
	}
	return len(trained)
}

func writeJSON(file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, data, 0o666)
}

// sample lets the base write n texts of the settings' length from one seed on, other ones than the router was made from.
func (b *bench) sample(ctx context.Context, e *peft.Engine, n int, first uint64) ([]string, error) {
	var all []string
	for seed := first; len(all) < n; seed++ {
		r, err := e.Generate(ctx, peft.GenerateOptions{Prompt: "<|endoftext|>", MaxTokens: b.res.Settings.SeqLen, Temperature: 1, Seed: seed}, nil)
		if err != nil {
			return nil, err
		}
		if len(r.TokenIDs) > b.res.Settings.SeqLen/2 {
			all = append(all, strings.ToValidUTF8(r.Text, ""))
		}
		if seed > first+uint64(20*n) {
			return nil, fmt.Errorf("the base ends its texts too soon: %d of %d", len(all), n)
		}
	}
	return all, nil
}
