package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/gopeft/peft/bench/record"
)

// settings decide what is measured. Figures of others are no comparison.
type settings struct {
	Base      string `json:"base"`
	Steps     int    `json:"steps"`
	SeqLen    int    `json:"seq_len"`
	Sequences int    `json:"sequences"` // of each text
	FirstSeed uint64 `json:"first_seed"`
}

// results is what stands in the file: every piece of work that is done, by name.
type results struct {
	Peer     peer                       `json:"peer"`
	Machine  string                     `json:"machine"`
	Settings settings                   `json:"settings"`
	Seeds    []uint64                   `json:"seeds"` // that were asked for
	Sweep    []string                   `json:"sweep"` // domains by which learning rates are chosen
	Done     map[string]json.RawMessage `json:"done"`
}

const resultName = "continual.json"

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.work}, parts...)...)
}

// open reads the figures that there are.
func (b *bench) open() error {
	if err := os.MkdirAll(b.work, 0o777); err != nil {
		return err
	}
	want := b.res.Settings
	want.Base = filepath.Base(b.base)
	data, err := os.ReadFile(b.path(resultName))
	if err == nil {
		err = json.Unmarshal(data, &b.res)
	} else if errors.Is(err, fs.ErrNotExist) {
		b.res = results{Settings: want, Done: map[string]json.RawMessage{}}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.path(resultName), err)
	}
	if b.res.Settings != want {
		return fmt.Errorf("%s has figures of %+v, not of %+v; use another -work", b.path(resultName), b.res.Settings, want)
	}
	b.res.Seeds, b.res.Sweep = b.seeds, b.sweepOn
	b.res.Machine = record.Machine()
	return nil
}

// save writes the figures, whole or not at all.
func (b *bench) save() error { return record.Write(b.path(resultName), b.res) }

// piece returns the result of a piece of work: the one that is kept or else that of doing it now.
func piece[T any](b *bench, name string, do func() (T, error)) (T, error) {
	have, ok, err := done[T](b, name)
	if ok || err != nil {
		return have, err
	}
	if !b.until.IsZero() && time.Now().After(b.until) {
		return have, record.ErrEnough
	}
	start := time.Now()
	v, err := do()
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	b.res.Done[name] = data
	log.Printf("%s: done in %.1f s", name, time.Since(start).Seconds())
	return v, b.save()
}

// done returns the result of a piece of work if it was done.
func done[T any](b *bench, name string) (v T, ok bool, err error) {
	data, ok := b.res.Done[name]
	if !ok {
		return v, false, nil
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, false, fmt.Errorf("%s in %s: %w", name, resultName, err)
	}
	return v, true, nil
}
