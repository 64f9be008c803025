package peft

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// TestCompare: models that compute the same pass, and one that lost a small adapter does not.
func TestCompare(t *testing.T) {
	e, err := Open(Options{Registry: filepath.Join(t.TempDir(), "r"), Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b, err := e.Base()
	if err != nil {
		t.Fatal(err)
	}
	c := &b.Model.Config
	in, out := c.Dims(llama.Value)
	l := &exchange.LoRA{Rank: 1, Scale: 1, A: make([]float32, in), B: make([]float32, out)}
	for i := range l.A {
		l.A[i] = 0.1
	}
	for i := range l.B {
		l.B[i] = 0.1 * float32(i%3-1)
	}
	a := &exchange.Adapter{Modules: []exchange.Module{{Block: c.Layers - 1, Site: llama.Value, LoRA: l}}}
	src, err := exchange.Merge(b.Model.Source(), c, exchange.Weighted{Adapter: a, Strength: 1})
	if err != nil {
		t.Fatal(err)
	}
	with, err := llama.New(*c, src, kernels.F32, e.pool)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := e.inF32(b)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := e.comparisonTexts(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &MergeResult{Type: "F16"}
	if err := e.compare(context.Background(), r, &trial{reader{with, nil}, reader{with, nil}, reader{bare, nil}}, texts); err != nil || r.Mean != 0 || r.Max != 0 || r.Change == 0 {
		t.Errorf("the same: %+v, %v", r, err)
	}
	r = &MergeResult{Type: "F16"}
	if err := e.compare(context.Background(), r, &trial{reader{with, nil}, reader{bare, nil}, reader{bare, nil}}, texts); !errors.Is(err, ErrMerge) || r.Mean != r.Change {
		t.Errorf("a lost adapter: %+v, %v", r, err)
	}
}
