package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
)

// The facts that are reported, and those by which recipes are chosen. Five in a row are of one kind.
var (
	//go:embed report.jsonl
	reportFacts []byte
	//go:embed tune.jsonl
	tuneFacts []byte
)

// kind is how many facts in a row are of one kind: who knows their answers, but not which is whose, is right once in so many.
const kind = 5

// asked is a question with its answer, or what an answer must contain.
type asked struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

// fact is one, with the wordings it is learned in and the one that is asked.
type fact struct {
	Statement string  `json:"statement"`
	Questions []asked `json:"questions"`
	Test      asked   `json:"test"`
}

// part is a number of facts.
type part struct {
	name   string
	facts  []fact
	file   string // training wordings
	tokens int    // of these, that are predicted in one pass
}

// part reads facts and writes their training wordings into the study's directory.
func (b *bench) part(e *peft.Engine, name string, lines []byte) (*part, error) {
	p := &part{name: name, file: b.Path(name + ".jsonl")}
	for d := json.NewDecoder(bytes.NewReader(lines)); ; {
		var f fact
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s facts: %w", name, err)
		}
		p.facts = append(p.facts, f)
	}
	p.facts = p.facts[:min(cmp.Or(b.settings.Facts, len(p.facts)), len(p.facts))]
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, f := range p.facts {
		if err := enc.Encode(map[string]string{"text": f.Statement}); err != nil {
			return nil, err
		}
		for _, q := range f.Questions {
			if err := enc.Encode(q); err != nil {
				return nil, err
			}
		}
	}
	if err := os.WriteFile(p.file, out.Bytes(), 0o644); err != nil {
		return nil, err
	}
	m, err := e.Base()
	if err != nil {
		return nil, err
	}
	d, err := tune.ReadFiles(m.Tokenizer, []string{p.file}, false)
	if err != nil {
		return nil, err
	}
	for _, r := range d.Records {
		p.tokens += len(r.Tokens) - 1
	}
	return p, nil
}
