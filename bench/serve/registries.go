package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/bench/record"
	"github.com/gopeft/peft/registry"
)

// setNames are the sets that every registry has.
var setNames = []string{"set0", "set1", "set2", "set3"}

// ends returns a bias against the tokens that end a text.
func (b *bench) ends() (map[string]float64, error) {
	if b.never != nil {
		return b.never, nil
	}
	path, _, err := peft.LocateBase("", b.base)
	if err != nil {
		return nil, err
	}
	m, err := base.Open(path, base.Options{})
	if err != nil {
		return nil, err
	}
	b.never = map[string]float64{}
	for id := range int32(m.Model.Config.Vocab) {
		if m.Tokenizer.IsEOS(id) {
			b.never[strconv.Itoa(int(id))] = -100
		}
	}
	return b.never, m.Close()
}

// few returns the directory of a registry with a few sets, made when it is not there yet.
func (b *bench) few(ctx context.Context) (string, error) {
	dir := filepath.Join(b.work, "few")
	return dir, b.make(dir, func(tmp string) error {
		return b.with(tmp, func(e *peft.Engine) error {
			data := filepath.Join(b.work, "text.txt")
			if err := os.WriteFile(data, []byte(prompt(1, 4000)), 0o644); err != nil {
				return err
			}
			if _, err := e.Init(ctx, peft.InitOptions{Background: data}); err != nil {
				return err
			}
			for i, name := range setNames {
				record.Logf("few: %s", name)
				own := filepath.Join(b.work, name+".txt") // words that are each set's own, so that gates tell them apart
				text := strings.Map(func(r rune) rune {
					if r >= 'a' && r <= 'z' {
						return 'a' + (r-'a'+rune(i))%26
					}
					return r
				}, prompt(uint64(i+2), 1500))
				if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
					return err
				}
				o := peft.AddOptions{Data: []string{own}, Experts: 500, Seed: uint64(i), ReportTokens: -1}
				if _, err := e.AddExperts(ctx, name, o); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// crowd returns that of one with so many more, each a copy of one of the few but the first under a name of its own. Added as
// sets are, each would be measured against all others, which takes hours and changes nothing in what serving costs.
func (b *bench) crowd(ctx context.Context) (string, error) {
	few, err := b.few(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.work, fmt.Sprintf("few-and-%d", b.sets))
	return dir, b.make(dir, func(tmp string) error {
		if err := os.CopyFS(tmp, os.DirFS(few)); err != nil {
			return err
		}
		return b.with(tmp, func(e *peft.Engine) error {
			for i := range b.sets {
				if err := again(ctx, e.Registry(), setNames[1+i%(len(setNames)-1)], fmt.Sprintf("more%04d", i)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// again publishes a set once more under another name.
func again(ctx context.Context, r *registry.DB, name, other string) error {
	s := r.Snapshot()
	defer s.Close()
	const sets = "sets"
	m, err := s.Manifest(sets, name, 0)
	if err != nil {
		return err
	}
	t, err := r.Begin(ctx, sets, other)
	if err != nil {
		return err
	}
	for _, p := range m.Parts {
		w, err := t.Part(p.Name)
		if err == nil {
			_, err = io.Copy(w, s.Open(p))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: part %s: %w", name, p.Name, err), t.Abort())
		}
	}
	_, err = t.Commit(m.Meta)
	return err
}

// with opens a registry for f.
func (b *bench) with(dir string, f func(e *peft.Engine) error) error {
	e, err := peft.Open(peft.Options{Registry: dir, Base: b.base, Threads: b.threads, Progress: record.Progress(dir, 20*time.Second)})
	if err != nil {
		return err
	}
	return errors.Join(f(e), e.Close())
}

// make makes a directory that is there complete or not at all.
func (b *bench) make(dir string, f func(tmp string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := f(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}
