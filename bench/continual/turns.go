package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/registry"
)

// stage is the registry after one more set was added, or after all gates were set anew.
type stage struct {
	Seconds float64             `json:"seconds"` // that adding took, its gate among it
	Router  string              `json:"router_sha256"`
	Auto    map[string]autoText `json:"auto"` // every text, gates deciding
	Forced  map[string]figure   `json:"own"`  // text of every domain that is there, its own set forced on
}

// autoText is a text when gates decide.
type autoText struct {
	figure
	Fired []string `json:"fired"` // sets that were on, of each sequence, joined by +
	Same  int      `json:"same"`  // sequences whose logits have the base's bits
}

// regated names the stage after all gates were set anew.
const regated = "regated"

func stageName(domain string) string { return "turn/" + domain }

// addInTurn adds the first seed's sets one after the other to one registry, and measures every text after each.
func (b *bench) addInTurn(ctx context.Context) error {
	off, err := piece(b, "off/sequences", func() (all map[string][]figure, err error) {
		err = b.copied("off", func(e *peft.Engine) error {
			all = map[string][]figure{}
			for _, name := range allTexts() {
				if all[name], err = sequences(ctx, e, b.texts[name].files); err != nil {
					return err
				}
			}
			return nil
		})
		return all, err
	})
	if err != nil {
		return err
	}
	for i, d := range domainNames() {
		if _, err := piece(b, stageName(d), func() (*stage, error) {
			return b.stage(ctx, off, domainNames()[:i+1], func(e *peft.Engine, s *stage) error {
				return removeLeft(ctx, e, d)
			}, func(e *peft.Engine, s *stage) error {
				file, err := b.kept(peftMethod, d)
				if err != nil {
					return err
				}
				r, err := e.AddExperts(ctx, d, peft.AddOptions{From: file, ReportTokens: -1})
				if err == nil {
					s.Seconds, s.Router = r.Seconds, r.RouterSHA256
				}
				return err
			})
		}); err != nil {
			return err
		}
	}
	if err := b.foreign(ctx); err != nil {
		return err
	}
	_, err = piece(b, stageName(regated), func() (*stage, error) {
		return b.stage(ctx, off, domainNames(), func(e *peft.Engine, s *stage) error {
			for _, d := range domainNames() {
				info, err := e.Regate(ctx, d)
				if err != nil {
					return err
				}
				s.Router = info.RouterSHA256
			}
			return nil
		})
	})
	return err
}

// stage changes the registry in which sets are added in turn, and measures it.
func (b *bench) stage(ctx context.Context, off map[string][]figure, domains []string, changes ...func(*peft.Engine, *stage) error) (*stage, error) {
	e, err := b.turns()
	if err != nil {
		return nil, err
	}
	s := &stage{Auto: map[string]autoText{}, Forced: map[string]figure{}}
	err = func() error {
		for _, change := range changes {
			if err := change(e, s); err != nil {
				return err
			}
		}
		for _, name := range allTexts() {
			t, err := auto(ctx, e, b.texts[name].files, off[name])
			if err != nil {
				return err
			}
			s.Auto[name] = *t
		}
		for _, d := range domains {
			f, err := b.forced(ctx, e, []string{d}, []string{testOf(d)})
			if err != nil {
				return err
			}
			maps.Copy(s.Forced, f)
		}
		return nil
	}()
	return s, errors.Join(err, e.Close())
}

// turns opens the registry in which sets are added in turn.
func (b *bench) turns() (*peft.Engine, error) { return b.lasting("turns") }

// removeLeft removes a set that a call left there which was interrupted, if there is one.
func removeLeft(ctx context.Context, e *peft.Engine, name string) error {
	if _, err := e.Show(name); !errors.Is(err, registry.ErrNotFound) {
		return errors.Join(err, e.Remove(ctx, name))
	}
	return nil
}

// lasting opens a registry that began as a copy of the one that has only the router, and stays.
func (b *bench) lasting(name string) (*peft.Engine, error) {
	dir := b.path(name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := os.CopyFS(dir, os.DirFS(b.path("router"))); err != nil {
			return nil, err
		}
	}
	return b.openRegistry(dir)
}

// sequences measures each file by itself with the base alone.
func sequences(ctx context.Context, e *peft.Engine, files []string) ([]figure, error) {
	var all []figure
	for _, file := range files {
		r, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{file}, SeqLen: measured})
		if err != nil {
			return nil, err
		}
		all = append(all, figure{r.NLL, r.Tokens, r.LogitsSHA256})
	}
	return all, nil
}

// auto measures each file by itself, gates deciding.
func auto(ctx context.Context, e *peft.Engine, files []string, off []figure) (*autoText, error) {
	t := &autoText{}
	var sum float64
	for i, file := range files {
		r, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{file}, Auto: true, SeqLen: measured})
		if err != nil {
			return nil, err
		}
		t.Fired = append(t.Fired, strings.Join(fired(r), "+"))
		if r.LogitsSHA256 == off[i].SHA256 {
			t.Same++
		}
		sum += r.NLL * float64(r.Tokens)
		t.Tokens += r.Tokens
	}
	t.NLL = sum / float64(t.Tokens)
	return t, nil
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

// owned returns how many sequences of a text have a set among those that were on.
func (t *autoText) owned(set string) (n int) {
	for _, on := range t.Fired {
		if slices.Contains(strings.Split(on, "+"), set) {
			n++
		}
	}
	return n
}
