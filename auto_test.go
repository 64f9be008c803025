package peft_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gopeft/peft"
)

// gated returns an engine with a set for the manual, trained a little.
func gated(t *testing.T) *peft.Engine {
	t.Helper()
	e := open(t)
	o := short
	o.Steps = 12
	if _, err := e.Finetune(ctx, "manual", o); err != nil {
		t.Fatal(err)
	}
	return e
}

func measure(t *testing.T, e *peft.Engine, o peft.EvalOptions) *peft.EvalResult {
	t.Helper()
	o.SeqLen = 128
	r, err := e.Evaluate(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAuto: on text of its own the set is on, from the prompt's end on; on other text the bits are the base's.
func TestAuto(t *testing.T) {
	e := gated(t)
	own := peft.EvalOptions{Data: []string{tidal}, MaxWindows: 6}
	other := peft.EvalOptions{Data: []string{"imports_test.go"}, MaxWindows: 6}
	auto := func(o peft.EvalOptions) *peft.EvalResult {
		o.Auto = true
		return measure(t, e, o)
	}
	if got, bare := auto(other), measure(t, e, other); got.LogitsSHA256 != bare.LogitsSHA256 || got.Perplexity != bare.Perplexity || got.Fired[0].Sequences != 0 {
		t.Errorf("on other text: %+v, want the base's %+v", got, bare)
	}
	got, bare := auto(own), measure(t, e, own)
	if f := got.Fired; len(f) != 1 || f[0].Set != "manual@2" || f[0].Share < 0.5 || got.Perplexity >= bare.Perplexity {
		t.Errorf("on own text: %+v, without the set %+v", got, bare)
	}
	own.GateTokens = 128 // nothing is left after the decision
	if got := auto(own); got.LogitsSHA256 == bare.LogitsSHA256 || got.NLL != bare.NLL {
		t.Errorf("decided at the window's last token: %+v, want the base's %+v but for the last logits", got, bare)
	}
	own.GateTokens = 500
	if got := auto(own); got.LogitsSHA256 != bare.LogitsSHA256 {
		t.Error("windows shorter than the prompt are not the base's")
	}
	own.Sets, own.GateTokens = []string{"manual@1"}, 0
	if _, err := e.Evaluate(ctx, peft.EvalOptions{Data: own.Data, Sets: own.Sets, Auto: true}); err == nil {
		t.Error("a revision without a gate passes")
	}
}

func TestAutoGenerate(t *testing.T) {
	e := gated(t)
	text, err := os.ReadFile(tidal)
	if err != nil {
		t.Fatal(err)
	}
	gen := func(o peft.GenerateOptions) *peft.GenerateResult {
		t.Helper()
		o.MaxTokens = 12
		r, err := e.Generate(ctx, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	logits := func(o peft.LogitsOptions) *peft.LogitsResult {
		t.Helper()
		r, err := e.Logits(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for prompt, want := range map[string][]string{string(text[1000:3500]): {"manual"}, "package main\n\nimport (\n\t\"fmt\"\n)\n\nfunc main() {": nil, "x": nil} {
		got := gen(peft.GenerateOptions{Prompt: prompt, Auto: true})
		if ref := gen(peft.GenerateOptions{Prompt: prompt, Sets: want}); !reflect.DeepEqual(got.TokenIDs, ref.TokenIDs) || (got.Fired[0].Sequences > 0) != (want != nil) {
			t.Errorf("%.20q: %q, fired %v; with %v on %q", prompt, got.Text, got.Fired, want, ref.Text)
		}
		l := logits(peft.LogitsOptions{Text: prompt, Auto: true})
		if ref := logits(peft.LogitsOptions{Text: prompt, Sets: want}); !reflect.DeepEqual(l.Top, ref.Top) || l.MeanNLL != ref.MeanNLL {
			t.Errorf("%.20q: logits differ from those with %v on", prompt, want)
		}
	}
}

// TestGatesStay: a set that comes later knows the earlier one and leaves its gate as it is; only Regate sets it anew.
func TestGatesStay(t *testing.T) {
	e := gated(t)
	gate := func(ref string) string {
		t.Helper()
		s, err := e.Show(ref)
		if err != nil || s.Gate == nil {
			t.Fatal(s, err)
		}
		b, err := json.Marshal(s.Gate)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	own := peft.EvalOptions{Data: []string{tidal}, Auto: true, Sets: []string{"manual@2"}, MaxWindows: 6}
	before, bits := gate("manual"), measure(t, e, own)
	if _, err := e.AddExperts(ctx, "code", peft.AddOptions{Data: []string{"finetune.go", "add.go", "router.go"}}); err != nil {
		t.Fatal(err)
	}
	if gate("manual") != before || !reflect.DeepEqual(measure(t, e, own), bits) {
		t.Error("a new set changed an older one's gate")
	}
	code, err := e.Show("code")
	if err != nil || len(code.Gate.Older) != 1 || code.Gate.Older[0].Text != "manual@2" || !strings.Contains(gate("code"), "manual@2") {
		t.Errorf("the new set's gate does not know the older one: %+v, %v", code.Gate, err)
	}
	if o := code.Gate.Others; len(o) != 3 || o[2].Text != "manual@2" || o[2].Rate() > 0.1 {
		t.Errorf("code's gate on others' text: %+v", o)
	}
	manual, err := e.Show("manual")
	if err != nil || len(manual.Newer) != 1 || manual.Newer[0].Text != "code@1" || manual.Newer[0].Sequences == 0 {
		t.Errorf("show does not tell of newer text: %+v, %v", manual.Newer, err)
	}
	again, err := e.Regate(ctx, "manual")
	if err != nil || again.Revision != 3 || len(again.Gate.Others) != 3 || !reflect.DeepEqual(again.Training, manual.Training) {
		t.Errorf("set anew: %+v, %v", again, err)
	}
	if gate("manual@2") != before {
		t.Error("setting a gate anew changed the earlier revision")
	}
	forced := peft.EvalOptions{Data: []string{tidal}, MaxWindows: 2, Sets: []string{"manual@2"}}
	now := forced
	now.Sets = []string{"manual"}
	if measure(t, e, forced).LogitsSHA256 != measure(t, e, now).LogitsSHA256 {
		t.Error("setting a gate anew changed the experts")
	}
	file := filepath.Join(t.TempDir(), "code.peft")
	if _, err := e.Export("code", file); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddExperts(ctx, "copy", peft.AddOptions{From: file}); err != nil {
		t.Fatal(err)
	}
	if c, err := e.Show("copy"); err != nil || c.Gate == nil || len(c.Gate.Older) != 2 {
		t.Errorf("an imported set has no gate: %+v, %v", c, err)
	}
}
