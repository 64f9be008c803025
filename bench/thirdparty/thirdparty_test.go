package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/bench/record"
)

// TestReport wants a table for each base, the ways in their order, and to be told where the base's bits stay.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	u, err := record.Open[result](filepath.Join(dir, "units.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, unit := range []string{"two/b", "two/a", "one/a"} {
		base, way, _ := strings.Cut(unit, "/")
		u.Done[unit] = result{Base: base, Way: way, Order: []int{1, 0, 0}[i], Experts: 7, Texts: []change{{"own", 100, 50, 60, 0.5, false}, {"other", 200, 220, 200, 0, true}}}
	}
	if err := report(u, dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "learning.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	row := "| a | 7 | 50.00 (-50.0 %) | 220.00 (+10.0 %) | 60.00 | 50 % | 200.00, the base's bits | 0 % |"
	at := []int{strings.Index(text, "### On one"), strings.Index(text, "### On two"), strings.LastIndex(text, row), strings.Index(text, "| b |")}
	if !strings.Contains(text, "Not measured on one: always on; ") {
		t.Errorf("what was not measured is not told of in\n%s", text)
	}
	if at[0] < 0 || at[1] < at[0] || at[2] < at[1] || at[3] < at[2] {
		t.Errorf("places %v in\n%s", at, text)
	}
}
