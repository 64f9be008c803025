package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/adapters/pretrain"
)

// TestModels wants the variants of both shapes at FLOPs within 2 % of PEER's, and the sweep to differ in experts alone.
func TestModels(t *testing.T) {
	for _, shape := range []string{"small", "base"} {
		b := &bench{shape: shape, subKeys: 64}
		var err error
		if b.base, err = options(shape); err != nil {
			t.Fatal(err)
		}
		all, err := b.models("variants")
		if err != nil {
			t.Fatal(err)
		}
		target := all[1].shape.FLOPs()
		for _, m := range all {
			if off := float64(m.shape.FLOPs())/float64(target) - 1; off > 0.02 || off < -0.02 {
				t.Errorf("%s, %s: FLOPs %.1f %% off", shape, m.name, 100*off)
			}
		}
		if len(all) != 4 || all[1].shape.Instead.Kind != pretrain.PEER {
			t.Errorf("%s: models %v", shape, all)
		}
		sweep, err := b.models("experts")
		if err != nil {
			t.Fatal(err)
		}
		if len(sweep) != 4 || sweep[0].experts != 1<<10 || sweep[3].experts != 1<<16 {
			t.Errorf("%s: sweep %v", shape, sweep)
		}
		for _, m := range sweep {
			if f := m.shape.Instead; f.Heads != sweep[0].shape.Instead.Heads || f.TopK != sweep[0].shape.Instead.TopK {
				t.Errorf("%s: %+v", m.name, f)
			}
		}
	}
	if _, err := options("huge"); err == nil {
		t.Error("an unknown shape passes")
	}
}

func run1(model string, seed uint64, steps int, perplexity float64) result {
	r := result{Experiment: "variants", Shape: "small", Model: model, Seed: seed, Curve: []point{{1, 2 * perplexity}, {2, perplexity}}}
	r.Steps, r.Perplexity = steps, perplexity
	return r
}

// TestReport writes results twice around text of others, which stays, and wants means over seeds of runs of one length.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "learning.md")
	if err := os.WriteFile(page, []byte("# Mine\n\nbefore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f resultFile
	f.put(run1("dense", 1, 5, 99))
	f.put(run1("dense", 1, 10, 40))
	f.put(run1("dense", 2, 10, 44))
	f.put(run1("peer", 1, 10, 30))
	f.put(run1("peer", 1, 10, 31))
	for range 2 {
		if err := f.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	var read resultFile
	if err := read.read(filepath.Join(dir, resultName)); err != nil || len(read.Runs) != 3 {
		t.Fatalf("%d runs, %v; want 3", len(read.Runs), err)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"# Mine\n\nbefore\n", "42.000 ± 2.828", "31.000", "scratch-variants-small.svg"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times in\n%s", want, strings.Count(text, want), text)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(dir, "scratch-variants-small.svg")); err != nil || !strings.Contains(string(svg), "<svg") {
		t.Errorf("plot: %v", err)
	}
	if err := os.WriteFile(page, []byte(begin), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.write(dir); err == nil {
		t.Error("half a section passes")
	}
}
