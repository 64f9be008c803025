package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	got := table(map[string][]judged{"a": {{"a", false, 10, 9, 1, 0}, {"b", false, 20, 1, 2, 1}, {"wiki", false, 20, 0, 0, 3}, {"a", true, 10, 0, 0, 0}}}, []string{"a", "b"}, []string{"a", "b", "wiki"}, false)
	for _, want := range []string{"| gate of | a | b | wiki | all but its own |\n|---|---|---|---|---|\n", "| a | **90.0 (90.0, 100.0)** | 5.0 (10.0, 20.0) | 0.0 (15.0, 15.0) | 2.5 (12.5, 17.5) |\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Count(got, "\n") != 3 {
		t.Errorf("a gate that was not measured has a row:\n%s", got)
	}
}

func TestReadDomains(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"train0.txt", "gate0.txt", "cap0.txt"} {
		if err := os.MkdirAll(filepath.Join(dir, "plays"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "plays", f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := readDomains(dir)
	if err != nil || len(all) != 1 || all[0].name != "plays" || len(all[0].learned) != 1 || !strings.HasSuffix(all[0].asked[0], "gate0.txt") {
		t.Errorf("%v, %v", all, err)
	}
	if err := os.Remove(filepath.Join(dir, "plays", "gate0.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := readDomains(dir); err == nil || !strings.Contains(err.Error(), "no gate* in plays") {
		t.Errorf("a domain without text to ask about: %v", err)
	}
}
