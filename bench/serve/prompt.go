package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// longPrompt is the words of a long prompt, of some 2,000 tokens.
const longPrompt = 1950

// parts are the sizes, in tokens of a pass, in which long prompts are read; the last takes them whole.
var parts = []int{64, 256, 1024, 8192}

// prompt measures what a long prompt costs one who is being answered, and how long its first token takes, with nobody beside
// it and with that one.
func (b *bench) prompt(ctx context.Context, r *result) error {
	dir, err := b.few(ctx)
	if err != nil {
		return err
	}
	for _, n := range parts {
		name := fmt.Sprintf("peft, %d tokens a pass", n)
		s, err := b.serve(ctx, dir, "--batch-tokens", strconv.Itoa(n))
		if err != nil {
			return err
		}
		if err := errors.Join(b.interrupted(ctx, r, name, s), s.stop()); err != nil {
			return err
		}
	}
	if b.llama == "" {
		return nil
	}
	s, err := b.serveLlama(ctx, r, 4, 4096)
	if err != nil {
		return err
	}
	return errors.Join(b.interrupted(ctx, r, "llama.cpp", s), s.stop())
}

// interrupted measures one server.
func (b *bench) interrupted(ctx context.Context, r *result, name string, s *server) error {
	o := row{Name: name, Streams: 1}
	for round := range b.rounds + 1 {
		seed := uint64(9000 + 10*round)
		long := func(i uint64) question { return question{"base", prompt(seed+i, longPrompt), 1} }
		alone, err := ask(ctx, s, long(0))
		if err != nil {
			return err
		}
		const tokens = 600 // more than are written until the prompt was read
		type done struct {
			a   *answer
			err error
		}
		running := make(chan done, 1)
		cut, end := context.WithCancel(ctx)
		go func() {
			a, err := ask(cut, s, question{"base", prompt(seed+1, shortPrompt), tokens})
			running <- done{a, err}
		}()
		select {
		case <-time.After(time.Second):
		case d := <-running:
			end()
			return errors.Join(fmt.Errorf("%s: the stream ended before the long prompt came", name), d.err)
		}
		beside, err := ask(ctx, s, long(2))
		read := time.Now()
		d := <-running
		end()
		if err = errors.Join(err, d.err); err != nil {
			return err
		}
		if round == 0 {
			continue
		}
		o.add("first token alone, s", alone.first())
		o.add("first token, s", beside.first())
		o.add("longest gap before, s", d.a.gap(d.a.parts[0], beside.asked))
		o.add("longest gap meanwhile, s", d.a.gap(beside.asked, read))
		o.add("tokens/s meanwhile", d.a.during(beside.asked, read))
	}
	r.Rows = append(r.Rows, o)
	return nil
}

// during is the parts a second that came between two times.
func (a *answer) during(from, to time.Time) float64 {
	n := 0
	for _, t := range a.parts {
		if t.After(from) && t.Before(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}
