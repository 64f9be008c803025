package peft_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/registry"
)

var ctx = context.Background()

// open returns an engine on the built-in base with one thread: packages are tested side by side, and threads that wait for each
// other crawl where there are fewer processors than threads.
func open(t *testing.T) *peft.Engine {
	t.Helper()
	return openWith(t, peft.Options{})
}

// openWith is open with other options; it sets the registry and the threads.
func openWith(t *testing.T, o peft.Options) *peft.Engine {
	t.Helper()
	o.Registry, o.Threads = filepath.Join(t.TempDir(), "registry"), 1
	e, err := peft.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func eval(t *testing.T, e *peft.Engine, sets ...string) *peft.EvalResult {
	t.Helper()
	r, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{tidal}, SeqLen: 128, MaxWindows: 2, Sets: sets})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var short = peft.FinetuneOptions{Data: []string{tidal}, Steps: 8, BatchTokens: 256, SeqLen: 64, LearningRate: 1e-2}

// TestSetsDoNotTouchEachOther goes through the life of two sets and compares logits to the bit.
func TestSetsDoNotTouchEachOther(t *testing.T) {
	e := open(t)
	bare := eval(t, e)
	questions := short
	questions.Data = []string{"examples/quickstart/manual/questions.jsonl"}
	first, err := e.Finetune(ctx, "a", short)
	if err != nil {
		t.Fatal(err)
	}
	a := eval(t, e, "a")
	if a.Perplexity >= bare.Perplexity || eval(t, e).LogitsSHA256 != bare.LogitsSHA256 {
		t.Errorf("perplexity %v with the set, %v without; or the base changed", a.Perplexity, bare.Perplexity)
	}
	second, err := e.Finetune(ctx, "b", questions)
	if err != nil {
		t.Fatal(err)
	}
	if first.RouterSHA256 != second.RouterSHA256 || first.BaseFingerprint != second.BaseFingerprint {
		t.Error("router or fingerprint changed")
	}
	if eval(t, e, "a").LogitsSHA256 != a.LogitsSHA256 || eval(t, e, "a", "b").LogitsSHA256 != eval(t, e, "b", "a").LogitsSHA256 {
		t.Error("b changed a, or their order counts")
	}
	if _, err := e.Finetune(ctx, "a", short); err != nil {
		t.Fatal(err)
	}
	if eval(t, e, "a@1").LogitsSHA256 != a.LogitsSHA256 {
		t.Error("training a again changed its earlier revision")
	}
	back, err := e.Rollback(ctx, "a", 0)
	if err != nil || back.Revision != 1 || eval(t, e, "a").LogitsSHA256 != a.LogitsSHA256 {
		t.Errorf("rolled back to %+v, %v", back, err)
	}
	if back.Training == nil || back.Training.Before.Target <= back.Training.After.Target {
		t.Errorf("training record %+v", back.Training)
	}
	if err := errors.Join(e.Remove(ctx, "a"), e.Remove(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	if eval(t, e).LogitsSHA256 != bare.LogitsSHA256 {
		t.Error("the base changed")
	}
}

// TestResume interrupts a run, resumes it, and compares with one that was never interrupted.
func TestResume(t *testing.T) {
	want := open(t)
	if _, err := want.Finetune(ctx, "a", short); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "registry")
	c, cancel := context.WithCancel(ctx)
	e, err := peft.Open(peft.Options{Registry: dir, Threads: 1, Progress: func(p peft.Progress) {
		if p.Task == "train a" && p.Done == 5 {
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finetune(c, "a", short); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if sets, err := e.List(); err != nil || len(sets) != 0 {
		t.Fatalf("sets %v of an interrupted run, %v", sets, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = peft.Open(peft.Options{Registry: dir}); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	o := short
	o.Resume = true
	if _, err := e.Finetune(ctx, "a", o); err != nil {
		t.Fatal(err)
	}
	if eval(t, e, "a").LogitsSHA256 != eval(t, want, "a").LogitsSHA256 {
		t.Error("interrupted and resumed gives another set than never interrupted")
	}
}

// TestAim: new experts are aimed once, before their first training, and change nothing until they learn.
func TestAim(t *testing.T) {
	aims := 0
	e := openWith(t, peft.Options{Progress: func(p peft.Progress) {
		if p.Task == "aim experts" && p.Done == p.Total {
			aims++
		}
	}})
	losses := func(name string, o peft.FinetuneOptions, aimed int) []peft.LossPoint {
		t.Helper()
		aims = 0
		if _, err := e.Finetune(ctx, name, o); err != nil {
			t.Fatal(err)
		}
		if aims != aimed {
			t.Errorf("%s: aimed %d times, want %d", name, aims, aimed)
		}
		s, err := e.Show(name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Training.Losses
	}
	asDrawn := short
	asDrawn.NoAim = true
	aimed, drawn := losses("aimed", short, 1), losses("drawn", asDrawn, 0)
	if aimed[0] != drawn[0] || aimed[1] == drawn[1] {
		t.Errorf("losses %v of aimed experts, %v of others: want the first alike and no more", aimed, drawn)
	}
	losses("aimed", short, 0)
}

func TestExportImportBackup(t *testing.T) {
	e := open(t)
	if _, err := e.Finetune(ctx, "a", short); err != nil {
		t.Fatal(err)
	}
	a := eval(t, e, "a")
	dir := t.TempDir()
	if _, err := e.Export("a", filepath.Join(dir, "a.peft")); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddExperts(ctx, "copy", peft.AddOptions{From: filepath.Join(dir, "a.peft")}); err != nil {
		t.Fatal(err)
	}
	if eval(t, e, "copy").LogitsSHA256 != a.LogitsSHA256 {
		t.Error("the imported copy computes something else")
	}
	if _, err := e.Backup(filepath.Join(dir, "backup")); err != nil {
		t.Fatal(err)
	}
	if _, err := peft.Restore(ctx, filepath.Join(dir, "restored"), filepath.Join(dir, "backup")); err != nil {
		t.Fatal(err)
	}
	r, err := peft.Open(peft.Options{Registry: filepath.Join(dir, "restored")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if eval(t, r, "a").LogitsSHA256 != a.LogitsSHA256 {
		t.Error("the restored set computes something else")
	}
	if err := os.WriteFile(filepath.Join(dir, "no.peft"), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddExperts(ctx, "x", peft.AddOptions{From: filepath.Join(dir, "no.peft")}); err == nil {
		t.Error("imported nonsense")
	}
}

func TestErrors(t *testing.T) {
	e := open(t)
	if _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		want error
		f    func() error
	}{
		"taken name":    {peft.ErrSetExists, func() error { _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}}); return err }},
		"reserved name": {registry.ErrName, func() error { _, err := e.AddExperts(ctx, "auto", peft.AddOptions{Data: []string{tidal}}); return err }},
		"unknown set": {registry.ErrNotFound, func() error {
			_, err := e.Generate(ctx, peft.GenerateOptions{Prompt: "x", Sets: []string{"b"}}, nil)
			return err
		}},
		"second router": {peft.ErrRouterExists, func() error { _, err := e.Init(ctx, peft.InitOptions{}); return err }},
		"no data": {os.ErrNotExist, func() error {
			_, err := e.Finetune(ctx, "a", peft.FinetuneOptions{Data: []string{"absent"}})
			return err
		}},
	} {
		if err := c.f(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestFailedFinetuneAddsNothing: a run that cannot be, or that fails, leaves no set behind, and a finished one is one revision.
func TestFailedFinetuneAddsNothing(t *testing.T) {
	e := open(t)
	if _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}}); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(o *peft.FinetuneOptions){
		"learning rate":   func(o *peft.FinetuneOptions) { o.LearningRate = -1 },
		"divergence":      func(o *peft.FinetuneOptions) { o.LearningRate = 1e30 },
		"precision":       func(o *peft.FinetuneOptions) { o.Precision = "f99" },
		"kind":            func(o *peft.FinetuneOptions) { o.Kind = "magic" },
		"too few experts": func(o *peft.FinetuneOptions) { o.Experts = 1 },
		"no such set":     func(o *peft.FinetuneOptions) { o.With = []string{"nobody"} },
		"no checkpoint":   func(o *peft.FinetuneOptions) { o.Resume = true },
		"no data":         func(o *peft.FinetuneOptions) { o.Data = nil },
	} {
		o := short
		change(&o)
		if _, err := e.Finetune(ctx, "b", o); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for _, name := range []string{"a@1", "auto", "x y"} {
		if _, err := e.Finetune(ctx, name, short); !errors.Is(err, registry.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	sets, err := e.List()
	if err != nil || len(sets) != 1 || sets[0].Revision != 1 {
		t.Fatalf("sets %v, %v", sets, err)
	}
	r, err := e.Finetune(ctx, "b", short)
	if err != nil || r.Revision != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := os.Stat(r.Plot); err != nil {
		t.Error(err)
	}
	if err := e.Remove(ctx, "b"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Plot); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the removed set's loss curve: %v", err)
	}
}

func TestLogits(t *testing.T) {
	e := open(t)
	r, err := e.Logits(ctx, peft.LogitsOptions{Text: "Package json implements encoding", Top: 5})
	if err != nil || len(r.Top) != 5 || r.Top[0].Logit < r.Top[4].Logit || !(r.MeanNLL > 0) || math.IsInf(r.MeanNLL, 0) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := e.Logits(ctx, peft.LogitsOptions{Text: "x", Top: -1}); err == nil {
		t.Error("fewer than no logits")
	}
}
