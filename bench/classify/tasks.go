package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// task is what is learned at one time: some labels of a data set.
type task struct {
	name, data string
	words      []string // of its labels
}

// sequence is an order of tasks.
type sequence struct {
	name  string
	tasks []task
}

// A label is learned as one word, so that the logits of one position tell between all of them; each is one token.
var (
	news    = []string{"World", "Sports", "Business", "Science"}
	ratings = []string{"terrible", "bad", "okay", "good", "great"}
	words   = slices.Concat(news, ratings)
	wordOf  = map[string]string{
		"World": news[0], "Sports": news[1], "Business": news[2], "Science or Technology": news[3],
		"very negative": ratings[0], "negative": ratings[1], "neutral": ratings[2], "positive": ratings[3], "very positive": ratings[4],
	}
	sequences = []sequence{
		{"two", []task{{"news", "agnews", news}, {"reviews", "amazon", ratings}}},
		{"three", []task{{"news-a", "agnews", news[:2]}, {"news-b", "agnews", news[2:]}, {"reviews", "amazon", ratings}}},
	}
)

// question follows every text, of whatever task.
const question = "\n\nTopic or opinion in one word:"

// sample is a text with its label's word.
type sample struct{ prompt, word string }

// dataset is the part of one that is used.
type dataset struct{ train, test []sample }

// read reads the data sets and writes what is trained on into the study's directory.
func (b *bench) read(dir string) error {
	for _, w := range words {
		if n := len(b.tok.Encode(" "+w, false)); n != 1 && filepath.Base(b.Base) != "builtin" {
			return fmt.Errorf("%q has %d tokens, want 1", w, n)
		}
	}
	b.data = map[string]*dataset{}
	for _, name := range []string{"agnews", "amazon"} {
		d := &dataset{}
		for _, part := range []struct {
			file string
			n    int
			to   *[]sample
		}{{"train.json", b.settings.Records, &d.train}, {"test.json", b.Samples, &d.test}} {
			var err error
			if *part.to, err = b.samples(filepath.Join(dir, name, part.file), part.n); err != nil {
				return err
			}
		}
		b.data[name] = d
	}
	for _, s := range sequences {
		for _, t := range s.tasks {
			if err := writeRecords(b.file(t), only(b.data[t.data].train, t.words)); err != nil {
				return err
			}
		}
	}
	return nil
}

// file is what a task is trained on.
func (b *bench) file(t task) string { return b.Path(t.name + ".jsonl") }

// samples reads the first n records of a file.
func (b *bench) samples(file string, n int) ([]sample, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var records []struct{ Label, Sentence string }
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(records) < n {
		return nil, fmt.Errorf("%s has %d records, want %d", file, len(records), n)
	}
	all := make([]sample, n)
	for i, r := range records[:n] {
		w, ok := wordOf[r.Label]
		if !ok {
			return nil, fmt.Errorf("%s, record %d: unknown label %q", file, i+1, r.Label)
		}
		ids := b.tok.Encode(strings.TrimSpace(r.Sentence), false)
		text := strings.ToValidUTF8(b.tok.Decode(ids[:min(len(ids), b.Tokens)]), "") // a cut can fall into a character
		all[i] = sample{text + question, w}
	}
	return all, nil
}

// only returns the samples with one of the labels.
func only(all []sample, words []string) []sample {
	return slices.DeleteFunc(slices.Clone(all), func(s sample) bool { return !slices.Contains(words, s.word) })
}

func writeRecords(file string, samples []sample) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, s := range samples {
		if err := enc.Encode(map[string]string{"prompt": s.prompt, "completion": " " + s.word}); err != nil {
			return err
		}
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
