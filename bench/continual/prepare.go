package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/bench/record"
)

// batchTokens is what one step learns, at most.
const batchTokens = 1024

// prepare makes the router, and writes the domains' files and all texts.
func (b *bench) prepare(ctx context.Context) error {
	if err := b.router(ctx); err != nil {
		return err
	}
	return b.copied("router", func(e *peft.Engine) error {
		bs, err := e.Base()
		if err != nil {
			return err
		}
		b.tok = bs.Tokenizer
		b.domains = map[string]domainFiles{}
		domains := map[string]*domain{}
		for _, name := range domainNames() {
			d, err := readDomain(name, b.files[name])
			if err != nil {
				return err
			}
			if b.domains[name], err = d.write(b.path("data", name)); err != nil {
				return err
			}
			domains[name] = d
		}
		if err := os.MkdirAll(b.path("texts"), 0o777); err != nil {
			return err
		}
		return b.prepareTexts(ctx, e, bs, domains)
	})
}

// openRegistry opens a registry; progress goes to standard error.
func (b *bench) openRegistry(dir string) (*peft.Engine, error) {
	return peft.Open(peft.Options{Registry: dir, Base: b.base, Threads: b.threads, Progress: record.Progress(dir, 10*time.Second)})
}

// router makes the registry with the router that all others are copies of.
func (b *bench) router(ctx context.Context) error {
	_, err := piece(b, "router", func() (*peft.InitResult, error) {
		if err := os.RemoveAll(b.path("router")); err != nil {
			return nil, err
		}
		e, err := b.openRegistry(b.path("router"))
		if err != nil {
			return nil, err
		}
		r, err := e.Init(ctx, peft.InitOptions{})
		return r, errors.Join(err, e.Close())
	})
	return err
}

// copied opens a fresh copy of the registry that has only the router, runs f, and removes the copy.
func (b *bench) copied(name string, f func(e *peft.Engine) error) error {
	dir := b.path("registry-" + name)
	err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(b.path("router"))))
	if err != nil {
		return err
	}
	e, err := b.openRegistry(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close(), os.RemoveAll(dir))
}

// batches writes what peft learns of a domain with that seed, step by step, for lora.py, with the learning rate of every step
// as a share of the peak, and returns the file's name.
func (b *bench) batches(tok *tokenizer.Tokenizer, domain string, seed uint64) (string, error) {
	d, err := tune.ReadFiles(tok, b.domains[domain].train, false)
	if err != nil {
		return "", err
	}
	var steps [][]sequence
	for _, group := range tune.Batches(d.Sequences(b.res.Settings.SeqLen), batchTokens, seed, b.res.Settings.Steps) {
		var step []sequence
		for _, s := range group {
			n := len(s.Tokens)
			step = append(step, sequence{Tokens: append(s.Tokens[:n:n], s.Targets[n-1]), Learned: s.Learned})
		}
		steps = append(steps, step)
	}
	o := tune.Options{Steps: b.res.Settings.Steps}
	o.Defaults()
	rate := tune.Schedule{Peak: 1, WarmUp: o.WarmUp, Steps: o.Steps, Decay: o.Decay, Floor: o.Floor}
	shares := make([]float64, o.Steps)
	for i := range shares {
		shares[i] = rate.At(i)
	}
	if err := os.MkdirAll(b.path("batches"), 0o777); err != nil {
		return "", err
	}
	file := b.path("batches", fmt.Sprintf("%s-%d.json", domain, seed))
	return file, writeJSON(file, map[string]any{"steps": steps, "schedule": shares})
}
