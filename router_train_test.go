package peft_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft"
)

// TestInitTrains: a trained router is another than the calibrated one, the same for the same seed, frozen, and of use.
func TestInitTrains(t *testing.T) {
	pages, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, b...)
	}
	file := filepath.Join(t.TempDir(), "background.txt")
	if err := os.WriteFile(file, text[:20000], 0o600); err != nil {
		t.Fatal(err)
	}
	o := peft.InitOptions{Background: file, Layers: []int{2, 4}, SubKeys: 8, TopK: 4, Steps: 3}
	sums := map[bool]string{}
	for _, train := range []bool{false, true, true} {
		e := open(t)
		o.Train = train
		r, err := e.Init(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if sums[train] == "" {
			sums[train] = r.RouterSHA256
		} else if sums[train] != r.RouterSHA256 {
			t.Error("the same seed gives another router")
		}
		if !train {
			continue
		}
		if tr := r.Training; tr == nil || tr.Steps != 3 || tr.TextTokens == 0 || !(tr.First > 0 && tr.Last > 0) || len(tr.Calibrated.Layers) != 2 || len(r.Report.Layers) != 2 {
			t.Errorf("training %+v", tr)
		}
		if _, err := e.Init(ctx, o); !errors.Is(err, peft.ErrRouterExists) {
			t.Errorf("second init: %v", err)
		}
		if _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}}); err != nil {
			t.Fatal(err)
		}
	}
	if sums[false] == sums[true] {
		t.Error("training changed nothing")
	}
}
