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

// foreign measures on how many other sequences of nobody's text the sets keep quiet that were added in turn.
func (b *bench) foreign(ctx context.Context) error {
	_, err := piece(b, foreignName, func() (all map[string]*autoText, err error) {
		e, err := b.turns()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		pieces, err := b.foreignPieces(ctx, e)
		if err != nil {
			return nil, err
		}
		all = map[string]*autoText{}
		for name, texts := range pieces {
			files, err := b.writeFiles(name, texts)
			if err != nil {
				return nil, err
			}
			off, err := sequences(ctx, e, files)
			if err != nil {
				return nil, err
			}
			if all[name], err = auto(ctx, e, files, off); err != nil {
				return nil, err
			}
		}
		return all, nil
	})
	return err
}

// foreignPieces returns sequences of nobody's texts that are not measured after each set.
func (b *bench) foreignPieces(ctx context.Context, e *peft.Engine) (map[string][]string, error) {
	bs, err := e.Base()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(b.files[wikitext])
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", wikitext, err)
	}
	all := chunks(bs.Tokenizer, string(data), b.res.Settings.SeqLen)
	known := evenly(all, b.res.Settings.Sequences)
	other := slices.DeleteFunc(all, func(c string) bool { return slices.Contains(known, c) })
	rand.New(rand.NewPCG(foreignCount, 0)).Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
	written, err := b.sample(ctx, e, foreignCount, 1<<21)
	return map[string][]string{wikitext: other[:min(foreignCount, len(other))], background: written}, err
}

// writeFiles puts pieces of a text into a file each.
func (b *bench) writeFiles(name string, pieces []string) (files []string, err error) {
	dir := b.path("texts", foreignName, name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for i, p := range pieces {
		files = append(files, fmt.Sprintf("%s/%03d.txt", dir, i))
		err = errors.Join(err, os.WriteFile(files[i], []byte(p), 0o666))
	}
	return files, err
}

// untouched shows what foreign measured.
func (p *page) untouched() {
	all, ok := get[map[string]*autoText](p, foreignName)
	if !ok {
		return
	}
	p.addf("\nWhen all were there, before gates were set anew, %d other sequences of each text that is nobody's domain:\n\n", foreignCount)
	p.columns("text", "sequences with the base's bits", "sets that were on, and for how many")
	for _, name := range otherTexts() {
		t, counts := all[name], map[string]int{}
		for _, sets := range t.Fired {
			if sets != "" {
				counts[sets]++
			}
		}
		var on []string
		for _, sets := range slices.Sorted(maps.Keys(counts)) {
			on = append(on, fmt.Sprintf("%s %d", sets, counts[sets]))
		}
		p.row(name, fmt.Sprintf("%d of %d", t.Same, len(t.Fired)), strings.Join(on, ", "))
	}
}
