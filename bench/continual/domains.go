package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// domain is what one set learns: parts in files of a kind each, of which the pieces, lines or articles, follow each other.
type domain struct {
	name  string
	parts []part
}

type part struct {
	ext    string // .txt or .jsonl
	pieces []string
}

// domainNames returns them in the order in which they are learned.
func domainNames() []string { return []string{"shakespeare", "gsm8k", "agnews", "amazon", "manual"} }

// sweepDomains are those by whose tune split learning rates are chosen, when no others are named.
const sweepDomains = "shakespeare,gsm8k"

// The splits of every part, by position: shares of its pieces.
const (
	split1, split2 = 0.8, 0.9
	learned        = "train"
	tuned          = "tune"
	tested         = "test"
)

func (p part) split(name string) []string {
	n := len(p.pieces)
	at, to := int(split1*float64(n)), int(split2*float64(n))
	switch name {
	case learned:
		return p.pieces[:at]
	case tuned:
		return p.pieces[at:to]
	}
	return p.pieces[to:]
}

// read returns a domain; file is a directory for the manual.
func readDomain(name, file string) (*domain, error) {
	if file == "" {
		return nil, fmt.Errorf("-%s is needed", name)
	}
	d := &domain{name: name}
	files := []string{file}
	if name == "manual" {
		files = []string{filepath.Join(file, "manual.md"), filepath.Join(file, "questions.jsonl")}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		switch filepath.Ext(f) {
		case ".jsonl":
			d.parts = append(d.parts, part{".jsonl", lines(string(data))})
		case ".json": // a list of labelled records; their text alone counts, one after the other
			var records []struct{ Sentence string }
			if err := json.Unmarshal(data, &records); err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			p := part{ext: ".txt"}
			for _, r := range records {
				p.pieces = append(p.pieces, strings.TrimSpace(r.Sentence)+"\n\n")
			}
			d.parts = append(d.parts, p)
		default:
			d.parts = append(d.parts, part{".txt", lines(string(data))})
		}
	}
	for _, p := range d.parts {
		if len(p.pieces) < 20 {
			return nil, fmt.Errorf("%s: %d pieces are too few to split", file, len(p.pieces))
		}
	}
	return d, nil
}

// lines returns lines with their ends.
func lines(text string) []string {
	all := strings.SplitAfter(strings.TrimSpace(text)+"\n", "\n")
	return all[:len(all)-1]
}

// How much of a domain's tune split Finetune gets as held-out text, in bytes: for the cap of every set, and more where its
// gate is to be used.
const capBytes, gateBytes = 8 << 10, 24 << 10

// write puts what is learned, and what Finetune holds out for the cap and for the gate, into files and returns their names.
func (d *domain) write(dir string) (f domainFiles, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return f, err
	}
	for i, p := range d.parts {
		put := func(what string, pieces []string) string {
			name := filepath.Join(dir, fmt.Sprint(what, i, p.ext))
			err = errors.Join(err, os.WriteFile(name, []byte(strings.Join(pieces, "")), 0o666))
			return name
		}
		f.train = append(f.train, put(learned, p.split(learned)))
		f.forCap = append(f.forCap, put("cap", limit(p.split(tuned), capBytes/len(d.parts))))
		f.forGate = append(f.forGate, put("gate", limit(p.split(tuned), gateBytes/len(d.parts))))
	}
	return f, err
}

// domainFiles are the files that Finetune reads.
type domainFiles struct{ train, forCap, forGate []string }

// limit returns the first pieces of so many bytes; one at least.
func limit(pieces []string, bytes int) []string {
	for i, p := range pieces {
		if bytes -= len(p); bytes < 0 && i > 0 {
			return pieces[:i]
		}
	}
	return pieces
}
