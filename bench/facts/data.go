package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// fact is one that nobody can know, because it was invented.
type fact struct {
	Statement string     `json:"statement"`
	Questions []question `json:"questions"` // that are learned
	Test      question   `json:"test"`      // in other words
}

type question struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

//go:embed report.jsonl tune.jsonl
var files embed.FS

// facts are those of one file, written as records to train on.
type facts struct {
	name string // report or tune
	all  []fact
	file string // .jsonl with a record for each wording
}

// read reads facts and writes their wordings into the study's directory, fact by fact, so that the tenth of the records
// that training holds back takes one wording of a fact at most.
func (b *bench) read(name string) (*facts, error) {
	data, err := files.ReadFile(name + ".jsonl")
	if err != nil {
		return nil, err
	}
	f := &facts{name: name, file: b.Path("facts-" + name + ".jsonl")}
	for dec := json.NewDecoder(bytes.NewReader(data)); b.Facts == 0 || len(f.all) < b.Facts; {
		var x fact
		if err := dec.Decode(&x); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s.jsonl, fact %d: %w", name, len(f.all)+1, err)
		}
		f.all = append(f.all, x)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, x := range f.all {
		if err := enc.Encode(map[string]string{"text": x.Statement}); err != nil {
			return nil, err
		}
		for _, q := range x.Questions {
			if err := enc.Encode(q); err != nil {
				return nil, err
			}
		}
	}
	return f, os.WriteFile(f.file, out.Bytes(), 0o644)
}

// right tells whether a text contains the answer.
func (q question) right(text string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(q.Answer))
}
