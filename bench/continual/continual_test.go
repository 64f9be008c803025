package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSplit wants the three splits of a part to follow each other and to leave nothing out.
func TestSplit(t *testing.T) {
	p := part{ext: ".jsonl"}
	for i := range 57 {
		p.pieces = append(p.pieces, string(rune('A'+i)))
	}
	a, b, c := p.split(learned), p.split(tuned), p.split(tested)
	if !slices.Equal(slices.Concat(a, b, c), p.pieces) || len(a) != 45 || len(b) != 6 {
		t.Errorf("%d, %d and %d pieces of %d", len(a), len(b), len(c), len(p.pieces))
	}
	if got := limit([]string{"long", "bb", "c"}, 6); len(got) != 2 {
		t.Errorf("pieces of 6 bytes: %q", got)
	}
	if got := limit([]string{"long"}, 1); len(got) != 1 {
		t.Errorf("no piece at all: %q", got)
	}
}

// put stores a result as piece does.
func put(t *testing.T, b *bench, name string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.res.Done[name] = data
}

// TestTried wants a sweep to go on beyond a best rate at the edge, and to be done when the best is inside.
func TestTried(t *testing.T) {
	b := &bench{res: results{Sweep: strings.Split(sweepDomains, ","), Done: map[string]json.RawMessage{}}}
	off := map[string]figure{}
	for _, d := range b.res.Sweep {
		off[d+"/"+tuned] = figure{NLL: 4}
	}
	put(t, b, "off/peft", off)
	try := func(rate, nll float64) {
		for _, d := range b.res.Sweep {
			put(t, b, sweepName(peftMethod, d, rate), trained{Texts: map[string]figure{d + "/" + tuned: {NLL: nll}}})
		}
	}
	first := peftMethod.rates
	for i, r := range first {
		try(r, 3.9-0.1*float64(i))
	}
	rates, drops, err := b.tried(peftMethod)
	next := 2 * first[len(first)-1]
	if err != nil || len(rates) != len(first)+1 || rates[len(first)] != next || len(drops) != len(first) {
		t.Fatalf("rates %v, drops %v, %v; want %g to be tried", rates, drops, err, next)
	}
	if _, err := b.rate(peftMethod); err == nil {
		t.Error("a rate is chosen before the sweep is done")
	}
	try(next, 3.8)
	if rate, err := b.rate(peftMethod); err != nil || rate != first[len(first)-1] {
		t.Errorf("rate %g, %v; want the last of %v", rate, err, first)
	}
}

// TestReport writes the page from half of the results, twice, around text of others.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "learning.md")
	if err := os.WriteFile(page, []byte("# Mine\n\nbefore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bench{out: dir, res: results{Seeds: []uint64{1, 2}, Sweep: strings.Split(sweepDomains, ","), Settings: settings{Base: "some.gguf", FirstSeed: 1}, Done: map[string]json.RawMessage{}}}
	off := map[string]figure{}
	for _, name := range allTexts() {
		off[name] = figure{NLL: 4, Tokens: 100}
	}
	put(t, b, "off/peft", off)
	put(t, b, "off/lora", loraOff{Texts: off})
	run := func(nll float64) trained {
		r := trained{Losses: []float64{4}, Tokens: 10, Seconds: 1, Parameters: 8, Experts: 2, Bytes: 99, Texts: map[string]figure{}}
		for name := range off {
			r.Texts[name] = figure{NLL: nll, Tokens: 100}
		}
		return r
	}
	put(t, b, runName(peftMethod, "gsm8k", 1), run(3.5))
	put(t, b, runName(peftMethod, "gsm8k", 2), run(3.7))
	put(t, b, runName(largeLoRA, "gsm8k", 1), run(3.6))
	put(t, b, loraTurnName("shakespeare"), run(3.9))
	s := stage{Auto: map[string]autoText{}, Forced: map[string]figure{}, Router: "abc"}
	for name := range off {
		s.Auto[name] = autoText{figure: figure{NLL: 4}, Fired: []string{"", ""}, Same: 2}
	}
	put(t, b, stageName("shakespeare"), s)
	for range 2 {
		if err := b.report(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Mine\n\nbefore\n", "0.400 ± 0.141", "continual-turns-some.svg", "0 of 2", "12 of 12", "not all measured yet"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is missing in\n%s", want, data)
		}
	}
	if strings.Count(string(data), "<!-- continual: written by") != 1 {
		t.Error("the section is there twice")
	}
}
