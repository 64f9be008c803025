package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/bench/record"
)

// TestRows wants every row to have a name of its own that -only can give.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows() {
		if seen[r.name] || strings.Contains(r.name, ";") || r.measure == nil {
			t.Errorf("row %q", r.name)
		}
		seen[r.name] = true
	}
	if !seen[asItIs] {
		t.Errorf("no row %q", asItIs)
	}
}

// TestReport wants means over seeds, each setting by itself.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	units, err := record.Open[result](filepath.Join(dir, "work.json"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string, seed uint64, own float64) {
		units.Done[key] = result{Base: "b", Group: asItIs, Row: asItIs, Steps: 3, Seed: seed, Layers: 2, Selections: 8, Perplexity: map[string]float64{
			measured("own", none): 100, measured("own", alone): own, measured("other", none): 10, measured("other", alone): 11}}
	}
	put("1", 1, 50)
	put("2", 2, 54)
	units.Done["3"] = result{Base: "c", Row: "sequence and token", Steps: 3, Seed: 1, Fires: []fires{{Text: "own", Sequences: 4, Sequence: 0.75, AnyToken: 1}}}
	b := &bench{units: units}
	if err := b.report(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "learning.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 52.00 ± 2.00 | -48.0 ± 2.0 % | 10.0 ± 0.0 % |", "| 16 |", "### c, 3 steps", "| own | 75.0 | 0.0 | 100.0 | 0.0 |"} {
		if strings.Count(string(page), want) != 1 {
			t.Errorf("%q is there %d times in\n%s", want, strings.Count(string(page), want), page)
		}
	}
}

// TestSplit wants what is measured to be no part of what is learned.
func TestSplit(t *testing.T) {
	dir := t.TempDir()
	text, lines := filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.jsonl")
	for file, content := range map[string]string{text: strings.Repeat("l", 9000) + strings.Repeat("m", 1000), lines: strings.Repeat("learned\n", 9) + "measured\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{work: dir, windows: 8, texts: map[string]string{}}
	if err := b.split(text, lines, text); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"own": "m", "own-rest": "m", "own-train": "l", "earlier": "measured\n", "earlier-train": "learned\n"} {
		got, err := os.ReadFile(b.texts[name])
		if err != nil || strings.Trim(string(got), want) != "" {
			t.Errorf("%s: %.40q, %v", name, got, err)
		}
	}
}
