package peft

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/registry"
)

// Parts of a stored set beside its experts.
const (
	partGate = "gate"
	partHeld = "held" // a sample of the set's own text that it was not trained on
)

// heldTokens bounds the sample of its own text that is kept with a set.
const heldTokens = 16384

// readHeld returns the sample of its own text that a revision keeps; nil when it has none.
func readHeld(s *registry.Snapshot, m *registry.Manifest, vocab int) ([]tune.Sequence, error) {
	p, ok := m.Part(partHeld)
	if !ok {
		return nil, nil
	}
	data, err := s.ReadPart(p)
	if err != nil {
		return nil, err
	}
	seqs, err := tune.UnmarshalSequences(data, vocab)
	if err != nil {
		return nil, fmt.Errorf("peft: held-out text of %s@%d: %w: %w", m.Name, m.Revision, registry.ErrCorrupt, err)
	}
	return seqs, nil
}

// ownText divides a set's data into what its gate is made from and what is held out: as training divides it, so that what
// is held out stays so. Data too small to be divided is all made from, and nothing is held out.
func ownText(d *tune.Data, seqLen int) (made, held []tune.Sequence) {
	if made, held, err := d.Split(seqLen); err == nil {
		return made, held
	}
	return d.Sequences(seqLen), nil
}

// passages are short texts of many kinds and languages, written for this project: what a set is to be told apart from
// when the registry holds little else.
//
//go:embed foreign/passages.txt
var passages string

// foreignTexts returns the passages as tokens, each of at most n.
func foreignTexts(tok *tokenizer.Tokenizer, n int) [][]int32 {
	var texts [][]int32
	for _, p := range strings.Split("\n"+passages, "\n== ")[1:] {
		_, text, _ := strings.Cut(p, "\n")
		ids := tok.Encode(text, false)
		texts = append(texts, ids[:min(n, len(ids))])
	}
	return texts
}

// knownPassages returns those passages that gates are made from, to train on. The others, which set gates' thresholds and
// measure them, are text that no set has seen: what it has learned to leave alone would tell nothing of what it does to others.
func knownPassages(tok *tokenizer.Tokenizer) []tune.Sequence {
	made, _ := halves(foreignTexts(tok, backgroundSeq))
	var seqs []tune.Sequence
	for _, ids := range made {
		seqs = append(seqs, tune.Cut(ids, backgroundSeq)...)
	}
	return seqs
}

// questions are short questions and requests about all sorts of things, likewise.
//
//go:embed foreign/questions.txt
var questions string

// questions returns the questions as prompts: plain and in each of the forms in turn.
func (p *prompter) questions(tok *tokenizer.Tokenizer) [][]int32 {
	var all [][]int32
	for i, q := range strings.Split(strings.TrimSpace(questions), "\n") {
		if n := i / 4 % (len(p.forms) + 1); n > 0 { // gates' halves and quarters have all forms
			if text, err := p.forms[n-1].render(q); err == nil {
				q = text
			}
		}
		all = append(all, tok.Encode(q, true))
	}
	return all
}

// prompts returns what comes first in sequences, as a gate would be asked: of plain text the first gateTokens, of others all
// before the first learned token; at most n, evenly from all over them. Where there are few sequences, because they are
// pieces of long texts, the later pieces of gateTokens count as well: of short records they would be their ends.
func prompts(seqs []tune.Sequence, n int) [][]int32 {
	var all [][]int32
	for _, s := range seqs {
		if at := firstLearned(s.Learned); at > 0 {
			all = append(all, s.Tokens[:at+1])
			continue
		}
		all = append(all, s.Tokens[:min(gateTokens, len(s.Tokens))])
		for at := gateTokens; at+gateTokens <= len(s.Tokens) && len(seqs) < n/2; at += gateTokens {
			all = append(all, s.Tokens[at:at+gateTokens])
		}
	}
	return evenly(all, n)
}

// evenly returns n of all, from all over them; all when there are no more.
func evenly[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	some := make([]T, n)
	for i := range some {
		some[i] = all[i*len(all)/n]
	}
	return some
}

// firstLearned returns the first row that is learned; 0 when none is.
func firstLearned(learned []bool) int {
	for i, l := range learned {
		if l {
			return i
		}
	}
	return 0
}
