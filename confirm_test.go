package peft

import (
	"math"
	"slices"
	"testing"
)

// TestConfirm: a set whose gate passes a text is on only where it makes the text likelier by as much as the gate asks, wherever
// gates decide.
func TestConfirm(t *testing.T) {
	const text = "To descale the machine, fill the tank with water and descaler, and press both buttons for three seconds."
	e, err := Open(Options{Registry: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	train := func(name, data string) *Forgetting {
		t.Helper()
		r, err := e.Finetune(t.Context(), name, FinetuneOptions{Data: []string{data}, Steps: 8, BatchTokens: 256, SeqLen: 64, LearningRate: 6e-3, ReportTokens: 512})
		if err != nil {
			t.Fatal(err)
		}
		return r.Forgetting
	}
	train("a", "examples/quickstart/manual/manual.md")
	info, err := e.Show("a")
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(info.Gate.Thresholds, func(h Threshold) bool { return h.Gain > 0 }); i < 0 {
		t.Errorf("nothing is asked of what a gains of its own text: %+v", info.Gate.Thresholds)
	}
	gates, err := e.newAuto(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := gates.gates[0].info // as it is kept: what is changed here holds from here on
	logits := func(o LogitsOptions) *LogitsResult {
		t.Helper()
		o.Text = text
		r, err := e.Logits(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bare, with := logits(LogitsOptions{}), logits(LogitsOptions{Sets: []string{"a"}})
	gain := (bare.MeanNLL - with.MeanNLL) * float64(len(bare.TokenIDs)-1)
	if gain < 1 {
		t.Fatalf("a gains %g nats of its own text, too little to test with", gain)
	}
	const far = -100 // below any score
	for _, asked := range []float64{0, gain - 0.5, gain + 0.5} {
		kept.Thresholds = []Threshold{{Tokens: 7, Score: far, Gain: asked}}
		g, err := e.Generate(t.Context(), GenerateOptions{Prompt: text, Auto: true, MaxTokens: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		on := asked < gain
		if found := g.Gates[0]; found.Fired != on || found.Vain == on || found.Unlike || (found.Gain != 0) != (asked != 0) || asked != 0 && math.Abs(found.Gain-gain) > 0.25 {
			t.Errorf("%g nats are asked of %g: %+v", asked, gain, found)
		}
		got, want := logits(LogitsOptions{Auto: true}), bare
		if on {
			want = with
		}
		if got.MeanNLL != want.MeanNLL || !slices.Equal(got.Top, want.Top) || got.Fired[0].Sequences != map[bool]int{true: 1}[on] {
			t.Errorf("%g nats are asked of %g: mean %g, fired %+v; without the set %g, with it %g", asked, gain, got.MeanNLL, got.Fired, bare.MeanNLL, with.MeanNLL)
		}
	}
	for asked, want := range map[float64]bool{0: true, 1e9: false} { // what a later set's report and gate find
		kept.Thresholds = []Threshold{{Tokens: 7, Score: far, Gain: asked}}
		f := train("b", "examples/quickstart/manual/questions.jsonl")
		i := slices.IndexFunc(f.Texts, func(x TextChange) bool { return x.Text == "a@1" })
		if x := f.Texts[i]; (x.Auto[0] != x.Off) != want {
			t.Errorf("%g nats are asked of a: its text has %+v", asked, x)
		}
		b, err := e.Show("b")
		if err != nil {
			t.Fatal(err)
		}
		if older := b.Gate.Older[0]; (older.Fired == older.Sequences) != want || (older.Fired == 0) == want {
			t.Errorf("%g nats are asked of a: on b's text %+v", asked, older)
		}
		if err := e.Remove(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
}
