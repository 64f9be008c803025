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
	var loads []load
	stop, err := b.both(ctx, func(s *server, with string) {
		loads = append(loads, load{"the base" + with, s, []string{"base"}}, load{fmt.Sprintf("%d sets by turns", len(setNames)) + with, s, setNames})
	})
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	return b.turns(ctx, r, counts, loads)
}

// against measures the base's answers beside those of llama.cpp's server, which has activations of 8 bits.
func (b *bench) against(ctx context.Context, r *result) (err error) {
	var loads []load
	stop, err := b.both(ctx, func(s *server, with string) { loads = append(loads, load{"peft" + with, s, []string{"base"}}) })
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	peer, err := b.serveLlama(ctx, r, counts[len(counts)-1], 512)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, peer.stop()) }()
	return b.turns(ctx, r, counts, append(loads, load{"llama.cpp", peer, []string{"base"}}))
}

// both starts a server with activations of 16 bits and one of 8, until stop is called, which is never nil.
func (b *bench) both(ctx context.Context, each func(s *server, with string)) (stop func() error, err error) {
	var servers []*server
	stop = func() (err error) {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
		return err
	}
	dir, err := b.few(ctx)
	if err != nil {
		return stop, err
	}
	second := filepath.Join(b.work, "few-8") // a server has a registry to itself
	if err := os.RemoveAll(second); err != nil {
		return stop, err
	}
	if err := os.CopyFS(second, os.DirFS(dir)); err != nil {
		return stop, err
	}
	for i, home := range []string{dir, second} {
		bits := 16 >> i
		s, err := b.serveIn(ctx, home, bits)
		if err != nil {
			return stop, err
		}
		servers = append(servers, s)
		each(s, fmt.Sprintf(", activations of %d bits", bits))
	}
	return stop, nil
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
