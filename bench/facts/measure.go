package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/internal/study"
)

// newTokens is how long an answer may be.
const newTokens = 24

// answers are those to one question about each fact.
type answers struct {
	Texts   []string `json:"texts"`
	Right   int      `json:"right"`            // that contain their fact's answer
	Mixed   int      `json:"mixed"`            // that contain that of another fact of the kind instead
	Fired   int      `json:"fired,omitempty"`  // questions for which the gate fired
	Seconds float64  `json:"seconds,omitzero"` // of answering
}

func (a *answers) recall() float64 { return float64(a.Right) / float64(max(1, len(a.Texts))) }

// add counts the answer to the question about fact i.
func (a *answers) add(p *part, i int, text string) {
	a.Texts = append(a.Texts, text)
	if contains(text, p.facts[i].Test.Answer) {
		a.Right++
		return
	}
	from := i - i%kind
	for _, f := range p.facts[from:min(from+kind, len(p.facts))] {
		if contains(text, f.Test.Answer) {
			a.Mixed++
			return
		}
	}
}

// contains tells whether words stand in a text, whatever their case; "6" is not in "16".
func contains(text, words string) bool {
	fold := func(s string) string {
		return " " + strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), " ") + " "
	}
	return strings.Contains(fold(text), fold(words))
}

// question is how one is put about each fact.
type question struct {
	what string
	auto bool
	ask  func(f fact) peft.GenerateOptions
}

func plain(q string) peft.GenerateOptions {
	return peft.GenerateOptions{Prompt: tune.QuestionPrompt(q)}
}

var questions = []question{
	{"asked", false, func(f fact) peft.GenerateOptions { return plain(f.Test.Question) }},
	{"auto", true, func(f fact) peft.GenerateOptions { return plain(f.Test.Question) }},
	{"chat", false, func(f fact) peft.GenerateOptions {
		return peft.GenerateOptions{Messages: []tokenizer.Message{{Role: "user", Content: f.Test.Question}}}
	}},
	{"learned", false, func(f fact) peft.GenerateOptions { return plain(f.Questions[0].Question) }},
}

// learn trains a set by a recipe on a part, and measures it: only what is chosen by, on the part that is for choosing.
func (b *bench) learn(ctx context.Context, p *part, r recipe) (err error) {
	e, err := b.Registry(ctx, strings.NewReplacer(" ", "-", ",", "").Replace(p.name+"-"+r.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if _, err := study.Do(ctx, b.Study, key(p, r, "train"), func() (study.Trained, error) {
		return study.Train(ctx, e, "facts", b.options(p, r))
	}); err != nil {
		return err
	}
	return b.measure(ctx, e, p.name+"/"+r.Name, p, []string{"facts"})
}

// measure asks about a part's facts, with the sets on, and of the part that is reported measures the background too.
func (b *bench) measure(ctx context.Context, e *peft.Engine, prefix string, p *part, sets []string) error {
	for _, q := range questions {
		if p == b.tune && q.what != "asked" || sets == nil && (q.auto || q.what == "learned") {
			continue
		}
		if _, err := study.Do(ctx, b.Study, prefix+"/"+q.what, func() (*answers, error) { return ask(ctx, e, p, q, sets) }); err != nil {
			return err
		}
	}
	if p == b.tune {
		return nil
	}
	for _, t := range []struct {
		name, file string
		windows    int
	}{{"wikitext", b.wikitext, b.Windows}, {"sampled", b.sampled(), 0}} {
		o := peft.EvalOptions{Data: []string{t.file}, Sets: sets, MaxWindows: t.windows}
		for _, o.Auto = range []bool{false, true} {
			if o.Auto && sets == nil {
				continue
			}
			k := prefix + "/" + t.name
			if o.Auto {
				k += "-auto"
			}
			if _, err := study.Do(ctx, b.Study, k, func() (*peft.EvalResult, error) { return e.Evaluate(ctx, o) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func ask(ctx context.Context, e *peft.Engine, p *part, q question, sets []string) (*answers, error) {
	a, start := &answers{}, time.Now()
	for i, f := range p.facts {
		o := q.ask(f)
		o.Sets, o.Auto, o.MaxTokens = sets, q.auto, newTokens
		g, err := e.Generate(ctx, o, nil)
		if err != nil {
			return nil, err
		}
		for _, s := range g.Fired {
			a.Fired += s.Sequences
		}
		a.add(p, i, g.Text)
	}
	a.Seconds = time.Since(start).Seconds()
	return a, nil
}

func (b *bench) sampled() string { return b.Path("sampled.jsonl") }

// sample writes texts sampled from the base, each from the token that ends texts on.
func (b *bench) sample(ctx context.Context, e *peft.Engine) error {
	texts, err := study.Do(ctx, b.Study, "sample", func() ([]string, error) {
		m, err := e.Base()
		if err != nil {
			return nil, err
		}
		var texts []string
		for i := range b.Samples {
			o := peft.GenerateOptions{Prompt: m.Tokenizer.Decode(m.Tokenizer.EOS[:1]), Temperature: 1, MaxTokens: b.Length, Seed: b.Seed + uint64(i)}
			if o.Prompt == "" { // it is no text
				o.Prompt = "\n"
			}
			g, err := e.Generate(ctx, o, nil)
			if err != nil {
				return nil, err
			}
			texts = append(texts, g.Text)
		}
		return texts, nil
	})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, t := range texts {
		if err := enc.Encode(map[string]string{"text": t}); err != nil {
			return err
		}
	}
	return os.WriteFile(b.sampled(), out.Bytes(), 0o644)
}
