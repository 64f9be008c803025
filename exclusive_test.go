package peft

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

// TestExclusive: two sets of DoRA at the same layers, which cannot be on together. The second is trained and its report made,
// which says so; of the two, auto takes the newer one where both gates fire.
func TestExclusive(t *testing.T) {
	ctx := context.Background()
	e := opened(t)
	const manual, questions = "examples/quickstart/manual/manual.md", "examples/quickstart/manual/questions.jsonl"
	o := FinetuneOptions{Steps: 1, BatchTokens: 128, SeqLen: 64, LearningRate: 5e-2, ReportTokens: 512, Adapter: Adapter{Kind: "lora", DoRA: true, Rank: 2}}
	train := func(name, data string) *Forgetting {
		t.Helper()
		o.Data = []string{data}
		r, err := e.Finetune(ctx, name, o)
		if err != nil {
			t.Fatal(err)
		}
		return r.Forgetting
	}
	text := func(f *Forgetting, name string) TextChange {
		t.Helper()
		i := slices.IndexFunc(f.Texts, func(x TextChange) bool { return x.Text == name })
		if i < 0 {
			t.Fatalf("no text %s in %+v", name, f.Texts)
		}
		return f.Texts[i]
	}
	train("a", manual)
	gates, err := e.newAuto(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	low := []Threshold{{Tokens: 8, Score: -100}}
	gates.gates[0].info.Thresholds = low // as it is kept: from here on it takes every text for its own, by far

	f := train("b", questions)
	for _, x := range f.Texts {
		if x.Apart != (x.Text == "a@1") {
			t.Errorf("%s apart: %v", x.Text, x.Apart)
		}
	}
	if x := text(f, "a@1"); x.On[1] != x.On[0] || x.On[0] == x.Off || x.Alone == x.Off {
		t.Errorf("a's text: %+v", x)
	}
	if x := text(f, "own"); x.Fired[1] == 0 || x.Auto[0] == x.Auto[1] || x.Auto[0] == x.Off {
		t.Errorf("a does not yield to b on b's own text: %+v", x)
	}
	if f = train("b", questions); !text(f, "a@1").Apart || text(f, "own").On[0] == text(f, "own").On[1] {
		t.Errorf("b trained again: %+v", f.Texts)
	}
	var page bytes.Buffer
	if err := e.WriteReport(&page); err != nil || !strings.Contains(page.String(), "cannot be on together") {
		t.Errorf("the page does not tell: %v", err)
	}

	sets := func(names ...string) *EvalResult {
		t.Helper()
		r, err := e.Evaluate(ctx, EvalOptions{Data: []string{manual}, SeqLen: 128, MaxWindows: 1, Sets: names})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := e.Evaluate(ctx, EvalOptions{Data: []string{manual}, Sets: []string{"a", "b"}}); !errors.Is(err, peer.ErrPlace) || !strings.Contains(err.Error(), "only one") {
		t.Errorf("both forced on: %v", err)
	}
	a, b := sets("a"), sets("b")
	if a.LogitsSHA256 == b.LogitsSHA256 {
		t.Fatal("the sets do the same")
	}
	const prompt = "To descale the machine, fill the tank with water and descaler, and press both buttons for three seconds."
	answer := func(o GenerateOptions) *GenerateResult {
		t.Helper()
		o.Prompt, o.MaxTokens = prompt, 8
		r, err := e.Generate(ctx, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if gates, err = e.newAuto(ctx, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		on string
		at float64 // b's threshold
	}{{"b@2", -100}, {"a@1", 1e9}} {
		gates.gates[0].info.Thresholds, gates.gates[1].info.Thresholds = low, []Threshold{{Tokens: 8, Score: want.at}}
		got, ref := answer(GenerateOptions{Auto: true}), answer(GenerateOptions{Sets: []string{want.on}})
		if !slices.Equal(got.TokenIDs, ref.TokenIDs) {
			t.Errorf("auto gives %q, %s %q", got.Text, want.on, ref.Text)
		}
		for i, g := range got.Gates {
			to := ""
			if g.Set == "a@1" && want.on == "b@2" {
				to = want.on
			}
			if g.YieldsTo != to || g.Fired != (g.Score > g.Threshold) {
				t.Errorf("%s on: %+v", want.on, g)
			}
			if on := got.Fired[i]; on.Sequences != index(on.Set == want.on) {
				t.Errorf("%s on: %+v", want.on, on)
			}
		}
	}
}
