package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"github.com/gopeft/peft"
)

// foreignCount is how many sequences of every text that is nobody's domain are read when all sets are there: of the few that
// are measured after each, one in a hundred would hardly show.
const foreignCount = 128

const foreignName = "foreign"

// untouched is what sets did to the sequences of a text when gates decided.
type untouched struct {
	Sequences int            `json:"sequences"`
	Same      int            `json:"same"`  // whose logits have the base's bits
	Fired     map[string]int `json:"fired"` // by sets that were on, joined by +
}

// foreign measures on how many other sequences of nobody's text the sets keep quiet that were added in turn.
func (b *bench) foreign(ctx context.Context) error {
	_, err := piece(b, foreignName, func() (all map[string]*untouched, err error) {
		e, err := b.turns()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		bs, err := e.Base()
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(b.files[wikitext])
		if err != nil {
			return nil, fmt.Errorf("-%s: %w", wikitext, err)
		}
		chunked := chunks(bs.Tokenizer, string(data), b.res.Settings.SeqLen)
		rand.New(rand.NewPCG(foreignCount, 0)).Shuffle(len(chunked), func(i, j int) { chunked[i], chunked[j] = chunked[j], chunked[i] })
		written, err := b.sample(ctx, e, foreignCount, 1<<21)
		if err != nil {
			return nil, err
		}
		all = map[string]*untouched{}
		for name, pieces := range map[string][]string{wikitext: chunked[:min(foreignCount, len(chunked))], background: written} {
			if all[name], err = b.untouched(ctx, e, name, pieces); err != nil {
				return nil, err
			}
		}
		return all, nil
	})
	return err
}

// untouched compares each of the pieces with gates deciding to the base alone.
func (b *bench) untouched(ctx context.Context, e *peft.Engine, name string, pieces []string) (*untouched, error) {
	u := &untouched{Fired: map[string]int{}}
	file := b.path("texts", name+"-foreign.txt")
	for _, p := range pieces {
		if err := os.WriteFile(file, []byte(p), 0o666); err != nil {
			return nil, err
		}
		o := peft.EvalOptions{Data: []string{file}, SeqLen: measured}
		off, err := e.Evaluate(ctx, o)
		if err != nil {
			return nil, err
		}
		o.Auto = true
		auto, err := e.Evaluate(ctx, o)
		if err != nil {
			return nil, err
		}
		u.Sequences++
		if auto.LogitsSHA256 == off.LogitsSHA256 {
			u.Same++
		}
		if on := fired(auto); len(on) > 0 {
			u.Fired[strings.Join(on, "+")]++
		}
	}
	return u, nil
}

// fired returns the sets that were on for any sequence.
func fired(r *peft.EvalResult) (on []string) {
	for _, f := range r.Fired {
		if f.Sequences > 0 {
			set, _, _ := strings.Cut(f.Set, "@")
			on = append(on, set)
		}
	}
	return on
}

// untouched shows what foreign measured.
func (p *page) untouched() {
	all, ok := get[map[string]*untouched](p, foreignName)
	if !ok {
		return
	}
	p.addf("\nWhen all were there, before gates were set anew, %d other sequences of each text that is nobody's domain:\n\n", foreignCount)
	p.columns("text", "sequences with the base's bits", "sets that were on, and for how many")
	for _, name := range otherTexts() {
		u := all[name]
		var on []string
		for _, sets := range slices.Sorted(maps.Keys(u.Fired)) {
			on = append(on, fmt.Sprintf("%s %d", sets, u.Fired[sets]))
		}
		p.row(name, fmt.Sprintf("%d of %d", u.Same, u.Sequences), strings.Join(on, ", "))
	}
}
