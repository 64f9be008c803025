package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gopeft/peft"
)

// beginning is a registry on the built-in base that is made once. Tests begin with copies of it.
type beginning struct {
	name string
	on   *beginning
	make func(e *peft.Engine, data string) error
	dir  func() (string, error)
}

// routed has a router; trained also a trained set, tarn, and an untrained one, empty; twoSets the untrained ones open and secret.
var (
	routed = begin("routed", nil, func(e *peft.Engine, _ string) error {
		// Of two layers and few cells, from text that is there: what the server does is the same, and the race detector makes routing slow.
		_, err := e.Init(context.Background(), peft.InitOptions{Background: "../../../../LICENSE", Layers: []int{1, 3}, Heads: 2, TopK: 8, SubKeys: 8})
		return err
	})
	trained = begin("trained", routed, func(e *peft.Engine, data string) error {
		_, err := e.Finetune(context.Background(), "tarn", peft.FinetuneOptions{Data: []string{data}, Steps: 12, BatchTokens: 128, SeqLen: 64, LearningRate: 3e-2, ReportTokens: -1})
		return errors.Join(err, add(e, data, "empty"))
	})
	twoSets = begin("two sets", routed, func(e *peft.Engine, data string) error { return add(e, data, "open", "secret") })
)

func add(e *peft.Engine, data string, names ...string) error {
	for _, n := range names {
		if _, err := e.AddExperts(context.Background(), n, peft.AddOptions{Data: []string{data}}); err != nil {
			return err
		}
	}
	return nil
}

func begin(name string, on *beginning, make func(e *peft.Engine, data string) error) *beginning {
	b := &beginning{name: name, on: on, make: make}
	b.dir = sync.OnceValues(b.made)
	return b
}

// made makes the registry and returns its directory.
func (b *beginning) made() (string, error) {
	dir, data := filepath.Join(beginnings, b.name), filepath.Join(beginnings, "data.txt")
	if b.on != nil {
		from, err := b.on.dir()
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(from))
		}
		if err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(data, []byte(tarn(120)), 0o600); err != nil {
		return "", err
	}
	e, err := peft.Open(peft.Options{Registry: dir, Threads: 1})
	if err != nil {
		return "", err
	}
	return dir, errors.Join(b.make(e, data), e.Close())
}

// begun returns the directory of a copy of a registry.
func begun(t testing.TB, b *beginning) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "registry")
	from, err := b.dir()
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(from))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// beginnings is the directory of the registries that tests begin with.
var beginnings string

func TestMain(m *testing.M) {
	var err error
	if beginnings, err = os.MkdirTemp("", "peft-server-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(beginnings); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
