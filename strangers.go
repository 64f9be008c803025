package peft

import (
	"context"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
)

// strangers are texts that no set calls its own, as the base reads them: all gates are told apart from the same ones.
type strangers struct {
	made  [][]peer.Sample  // that gates are made from
	texts []otherText      // that set thresholds, and measure them
	read  [][]judgedPrompt // of each text, those that set thresholds, then those that measure them
}

// strangersKept is how much of them is kept in memory.
const strangersKept = 64 << 20

// strangers returns those of the background, the passages and the questions. They take longer to read than most sets' own
// text, so an engine reads them once, unless the router has so many cells that they need much memory.
func (e *Engine) strangers(ctx context.Context, b *base.Base, r *storedRouter) (*strangers, error) {
	e.mu.Lock()
	s := e.sets.strangers
	e.mu.Unlock()
	if s != nil {
		return s, nil
	}
	background := newOther("background", prompts(tune.Cut(r.held, backgroundSeq), gatePrompts))
	seen := prompts(tune.Cut(r.seen, backgroundSeq), gateSamples)
	from := len(background.set)
	background.guess, background.set = true, append(background.set, seen...)
	passages, kinds := newForeign("passages", foreignTexts(b.Tokenizer, gateTokens))
	questions, ways := newForeign("questions", r.prompter.questions(b.Tokenizer))
	s = &strangers{texts: []otherText{background, passages, questions}}
	for _, t := range s.texts {
		read, err := e.read(ctx, b, r, "judge "+t.name, slices.Concat(t.set, t.test))
		if err != nil {
			return nil, err
		}
		s.read = append(s.read, read)
	}
	s.made = make([][]peer.Sample, 1)
	for _, p := range s.read[0][from : from+len(seen)] {
		s.made[0] = append(s.made[0], p.all)
	}
	for _, texts := range [][][]int32{kinds, ways} {
		samples, err := e.sample(ctx, b, r, texts)
		if err != nil {
			return nil, err
		}
		s.made = append(s.made, samples)
	}
	if s.size() <= strangersKept {
		e.mu.Lock()
		e.sets.strangers = s
		e.mu.Unlock()
	}
	return s, nil
}

// size returns about how many bytes of memory they take.
func (s *strangers) size() (bytes int) {
	for _, samples := range s.made[1:] { // the first are among those that were read
		bytes += bytesOf(samples...)
	}
	for _, read := range s.read {
		for _, p := range read {
			bytes += p.size()
		}
	}
	return bytes
}
