package peft_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

func measure(t *testing.T, e *peft.Engine, o peft.EvalOptions) *peft.EvalResult {
	t.Helper()
	o.SeqLen = 128
	r, err := e.Evaluate(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAuto goes through what gates decide, on one registry with a set for the manual.
func TestAuto(t *testing.T) {
	e := open(t)
	b, err := e.Base()
	if err != nil {
		t.Fatal(err)
	}
	b.Tokenizer.SetChat(`{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}`)
	if _, err := e.Finetune(ctx, "manual", short); err != nil {
		t.Fatal(err)
	}
	t.Run("windows", func(t *testing.T) { autoWindows(t, e) })
	t.Run("generate", func(t *testing.T) { autoGenerate(t, e) })
	t.Run("gates stay", func(t *testing.T) { gatesStay(t, e) })
	t.Run("forgetting", func(t *testing.T) { forgetting(t, e) })
	t.Run("labels", func(t *testing.T) { labelAccuracy(t, e) })
}

// autoWindows: on text of its own the set is on, from the prompt's end on; on other text the bits are the base's.
func autoWindows(t *testing.T, e *peft.Engine) {
	own := peft.EvalOptions{Data: []string{tidal}, MaxWindows: 4}
	other := peft.EvalOptions{Data: []string{"imports_test.go"}, MaxWindows: 4}
	auto := func(o peft.EvalOptions) *peft.EvalResult {
		o.Auto = true
		return measure(t, e, o)
	}
	if got, bare := auto(other), measure(t, e, other); got.LogitsSHA256 != bare.LogitsSHA256 || got.Perplexity != bare.Perplexity || got.Fired[0].Sequences != 0 {
		t.Errorf("on other text: %+v, want the base's %+v", got, bare)
	}
	got, bare := auto(own), measure(t, e, own)
	if f := got.Fired; len(f) != 1 || f[0].Set != "manual@1" || f[0].Share < 0.5 || got.Perplexity >= bare.Perplexity {
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
	few := filepath.Join(t.TempDir(), "few.txt")
	if err := os.WriteFile(few, []byte("Too little to set a gate by."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddExperts(ctx, "few", peft.AddOptions{Data: []string{few}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Evaluate(ctx, peft.EvalOptions{Data: own.Data, Sets: []string{"few"}, Auto: true}); !errors.Is(err, peft.ErrNoGate) {
		t.Errorf("a set without a gate: %v", err)
	}
	if err := e.Remove(ctx, "few"); err != nil {
		t.Fatal(err)
	}
}

func autoGenerate(t *testing.T, e *peft.Engine) {
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
	own := ""
	for at := 0; at+1000 <= len(text) && own == ""; at += 1000 {
		if p := string(text[at : at+1000]); logits(peft.LogitsOptions{Text: p, Auto: true}).Fired[0].Sequences == 1 {
			own = p
		}
	}
	if own == "" {
		t.Fatal("the gate fires on no part of its own text")
	}
	for _, sys := range []string{"", "You know everything about boats and clocks, and you always answer in one short sentence."} {
		for text, want := range map[string]int{own: 1, "Who painted the ceiling of the Sistine Chapel, and how long did it take him?": 0} {
			messages := []tokenizer.Message{{Role: "system", Content: sys}, {Role: "user", Content: text}}
			if sys == "" {
				messages = messages[1:]
			}
			if got := gen(peft.GenerateOptions{Messages: messages, Auto: true}); got.Fired[0].Sequences != want {
				t.Errorf("%.20q as a message, system %.10q: fired %v", text, sys, got.Fired)
			}
		}
	}
	for prompt, want := range map[string][]string{own: {"manual"}, "package main\n\nimport (\n\t\"fmt\"\n)\n\nfunc main() {": nil, "x": nil} {
		got := gen(peft.GenerateOptions{Prompt: prompt, Auto: true})
		if ref := gen(peft.GenerateOptions{Prompt: prompt, Sets: want}); !reflect.DeepEqual(got.TokenIDs, ref.TokenIDs) || (got.Fired[0].Sequences > 0) != (want != nil) {
			t.Errorf("%.20q: %q, fired %v; with %v on %q", prompt, got.Text, got.Fired, want, ref.Text)
		}
		if g := got.Gates; (len(g) == 0) != (prompt == "x") || len(g) == 1 && (g[0].Set != "manual@1" || g[0].Fired != (want != nil) || g[0].Fired != (g[0].Score > g[0].Threshold)) {
			t.Errorf("%.20q: gates found %+v", prompt, g)
		}
		l := logits(peft.LogitsOptions{Text: prompt, Auto: true})
		if ref := logits(peft.LogitsOptions{Text: prompt, Sets: want}); !reflect.DeepEqual(l.Top, ref.Top) || l.MeanNLL != ref.MeanNLL {
			t.Errorf("%.20q: logits differ from those with %v on", prompt, want)
		}
	}
}

// gatesStay: a set that comes later knows the earlier one and leaves its gate as it is; only Regate sets it anew.
func gatesStay(t *testing.T, e *peft.Engine) {
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
	own := peft.EvalOptions{Data: []string{tidal}, Auto: true, Sets: []string{"manual@1"}, MaxWindows: 4}
	before, bits := gate("manual"), measure(t, e, own)
	if _, err := e.AddExperts(ctx, "code", peft.AddOptions{Data: []string{"finetune.go", "add.go", "router.go"}}); err != nil {
		t.Fatal(err)
	}
	if gate("manual") != before || !reflect.DeepEqual(measure(t, e, own), bits) {
		t.Error("a new set changed an older one's gate")
	}
	code, err := e.Show("code")
	if err != nil || len(code.Gate.Older) != 1 || code.Gate.Older[0].Text != "manual@1" || !strings.Contains(gate("code"), "manual@1") {
		t.Errorf("the new set's gate does not know the older one: %+v, %v", code.Gate, err)
	}
	if o := code.Gate.Others; len(o) != 4 || o[3].Text != "manual@1" || o[3].Rate() > 0.1 {
		t.Errorf("code's gate on others' text: %+v", o)
	}
	manual, err := e.Show("manual")
	if err != nil || len(manual.Newer) != 1 || manual.Newer[0].Text != "code@1" || manual.Newer[0].Sequences == 0 {
		t.Errorf("show does not tell of newer text: %+v, %v", manual.Newer, err)
	}
	again, err := e.Regate(ctx, "manual")
	if err != nil || again.Revision != 2 || len(again.Gate.Others) != 4 || !reflect.DeepEqual(again.Training, manual.Training) {
		t.Errorf("set anew: %+v, %v", again, err)
	}
	if gate("manual@1") != before {
		t.Error("setting a gate anew changed the earlier revision")
	}
	forced := peft.EvalOptions{Data: []string{tidal}, MaxWindows: 2, Sets: []string{"manual@1"}}
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

// forgetting: what training does to other text is kept and shown, and can be forbidden.
func forgetting(t *testing.T, e *peft.Engine) {
	o := short
	o.Data, o.Steps, o.ReportTokens = []string{"examples/quickstart/manual/questions.jsonl"}, 4, 512
	never := -100.0 // no perplexity falls by so much
	o.ForbidRegression = &never
	before, err := e.List()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finetune(ctx, "questions", o); !errors.Is(err, peft.ErrRegression) || !strings.Contains(err.Error(), "background") {
		t.Errorf("a forbidden regression: %v", err)
	}
	if after, err := e.List(); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("the registry changed: %v, %v", after, err)
	}
	o.ReportTokens = -1
	if _, err := e.Finetune(ctx, "questions", o); err == nil || errors.Is(err, peft.ErrRegression) {
		t.Errorf("a regression forbidden but not measured: %v", err)
	}
	huge := 1e6
	o.ReportTokens, o.ForbidRegression = 512, &huge
	r, err := e.Finetune(ctx, "questions", o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Show("questions")
	if err != nil || !reflect.DeepEqual(s.Forgetting, r.Forgetting) {
		t.Fatalf("not kept: %+v, %v", s, err)
	}
	var names []string
	for _, x := range s.Forgetting.Texts {
		names = append(names, x.Text)
		if x.Tokens == 0 || x.Off <= 1 || x.Alone <= 1 || x.On[0] <= 1 || x.On[1] <= 1 || x.Auto[0] <= 1 || x.Auto[1] <= 1 {
			t.Errorf("%+v", x)
		}
		if x.Text == "own" && (x.On[0] != x.Off || x.On[1] != x.Alone || x.Alone >= x.Off) {
			t.Errorf("own text: %+v", x)
		}
		if x.Fired[1] == 0 && x.Auto[0] != x.Auto[1] {
			t.Errorf("auto changed although the gate did not fire: %+v", x)
		}
	}
	if want := []string{"own", "background", "code@1", "copy@1", "manual@2"}; !slices.Equal(names, want) {
		t.Errorf("texts %q, want %q", names, want)
	}
	var page bytes.Buffer
	if err := e.WriteReport(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"questions@1", "manual", "background", "<svg", "prefers-color-scheme", "viewport"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if p := page.String(); strings.Contains(p, "http") || strings.Contains(p, "ZgotmplZ") || strings.Count(p, "<tr") != strings.Count(p, "</tr") {
		t.Error("the page is not complete in itself, or broken")
	}
}
