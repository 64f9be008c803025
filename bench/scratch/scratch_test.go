package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/adapters/pretrain"
	"github.com/gopeft/peft/bench/record"
)

// TestVariants wants models of PEER's FLOPs within 5 %, but for one that leaves its router's out, PEER last, and recipes
// that change it.
func TestVariants(t *testing.T) {
	all, err := variants()
	if err != nil {
		t.Fatal(err)
	}
	p := all[len(all)-1]
	if p.shape.Instead.Kind != pretrain.PEER {
		t.Errorf("the last variant is %s", p.name)
	}
	for _, v := range all {
		off := float64(v.shape.FLOPs())/float64(p.shape.FLOPs()) - 1
		if narrow := strings.Contains(v.name, "router"); narrow != (off < -0.05) || off > 0.05 {
			t.Errorf("%s: FLOPs %.1f %% off", v.name, 100*off)
		}
	}
	for i, r := range recipes() {
		f, o := p.shape.Instead, pretrain.Defaults().Optimizer
		r.set(&f, &o)
		s := shape
		s.Instead = f
		if same := o == pretrain.Defaults().Optimizer && s.FLOPs() == p.shape.FLOPs() && f.OutScale == 0 && f.ValueStd == 0 && !f.Sigmoid && !f.RawQuery; same != (i == 0) {
			t.Errorf("recipe %s: changes nothing is %v", r.name, same)
		}
	}
}

// TestReport trains for two steps, ends after two units, goes on, and wants the page from what is there.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	all, err := variants()
	if err != nil {
		t.Fatal(err)
	}
	u, err := record.Open[result](filepath.Join(dir, "scratch.json"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{work: dir, steps: 2, threads: 1, units: u, variants: all[len(all)-1:], left: 2}
	b.docs, err = pretrain.Corpus(goroot(t))
	if err != nil {
		t.Fatal(err)
	}
	b.docs = b.docs[:min(len(b.docs), 1000)]
	if err := b.compare(context.Background(), "short", 2, []uint64{1}); err == nil {
		t.Fatal("more than two units were done")
	}
	b.left = -1
	if err := b.compare(context.Background(), "short", 2, []uint64{1}); err != nil {
		t.Fatal(err)
	}
	if want := len(adamRates) + len(muonRates); len(u.Done) != want {
		t.Errorf("%d units are done, want %d", len(u.Done), want)
	}
	if err := b.report(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "learning.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"### Learning rates", "0.01 / 0.001: ", "### Equal FLOPs and tokens", "scratch-variants.svg"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is missing in\n%s", want, page)
		}
	}
}

func goroot(t *testing.T) string {
	t.Helper()
	root, err := pretrain.GOROOT(context.Background())
	if err != nil {
		t.Skip(err)
	}
	return root
}
