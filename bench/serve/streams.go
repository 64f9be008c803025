package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// counts are how many answers are written at once.
var counts = []int{1, 4, 16}

// tokensASecond is the column of rates.
const tokensASecond = "tokens/s"

// streams measures 1, 4 and 16 answers, of the base and of a few sets by turns, with activations of 16 bits and of 8.
func (b *bench) streams(ctx context.Context, r *result) (err error) {
	dir, err := b.few(ctx)
	if err != nil {
		return err
	}
	second := filepath.Join(b.work, "few-8") // a server has a registry to itself
	if err := os.RemoveAll(second); err != nil {
		return err
	}
	if err := os.CopyFS(second, os.DirFS(dir)); err != nil {
		return err
	}
	var loads []load
	for _, o := range []struct {
		home string
		bits int
	}{{dir, 16}, {second, 8}} {
		s, err := b.serveIn(ctx, o.home, o.bits)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		with := fmt.Sprintf(", activations of %d bits", o.bits)
		loads = append(loads, load{"the base" + with, s, []string{"base"}}, load{fmt.Sprintf("%d sets by turns", len(setNames)) + with, s, setNames})
	}
	return b.turns(ctx, r, counts, loads)
}

// against measures the base's answers beside those of llama.cpp's server.
func (b *bench) against(ctx context.Context, r *result) (err error) {
	dir, err := b.few(ctx)
	if err != nil {
		return err
	}
	s, err := b.serve(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	peer, err := b.serveLlama(ctx, r, counts[len(counts)-1], 512)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	return b.turns(ctx, r, counts, []load{{"peft", s, []string{"base"}}, {"llama.cpp", peer, []string{"base"}}})
}

// many measures answers with one set, and such where the gates decide, from registries of few and of many sets.
func (b *bench) many(ctx context.Context, r *result) (err error) {
	few, err := b.few(ctx)
	if err != nil {
		return err
	}
	crowd, err := b.crowd(ctx)
	if err != nil {
		return err
	}
	s, err := b.serve(ctx, few)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	t, err := b.serve(ctx, crowd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	r.Sets, r.Added = len(setNames), b.sets
	set := setNames[:1]
	return b.turns(ctx, r, []int{1, 16}, []load{
		{"a set, of few", s, set}, {"a set, of many", t, set},
		{"auto, of few", s, []string{"auto"}}, {"auto, of many", t, []string{"auto"}},
	})
}

// load is who is asked for what.
type load struct {
	name   string
	s      *server
	models []string // by turns
}

// turns measures each load with each number of streams, one after the other in every round, after one that does not count.
func (b *bench) turns(ctx context.Context, r *result, counts []int, loads []load) error {
	at := len(r.Rows)
	for _, l := range loads {
		for _, n := range counts {
			r.Rows = append(r.Rows, row{Name: l.name, Streams: n})
		}
	}
	for round := range b.rounds + 1 {
		for j, n := range counts { // loads that are compared come one upon the other
			for i, l := range loads {
				all, err := together(ctx, l.s, questions(uint64(round*100+n), n, b.tokens, l.models...))
				if err != nil {
					return err
				}
				if round == 0 {
					continue
				}
				o := &r.Rows[at+i*len(counts)+j]
				o.add(tokensASecond, rate(all))
				first := 0.0
				for _, a := range all {
					first += a.first() / float64(n)
				}
				o.add("first token, s", first)
			}
		}
	}
	return nil
}
