package peft_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
)

// tinyGPT2 writes a GPT-2 of random weights with the built-in base's tokenizer, and returns its configuration and file.
func tinyGPT2(t *testing.T) (*llama.Config, string) {
	t.Helper()
	b, err := base.Open(base.Builtin, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return llamatest.GPT2(t, b.Tokenizer, b.Model.Config.Vocab, 96, 256)
}

// TestGPT2Adapters: a LoRA that was trained on queries and values of a GPT-2 leaves as one of c_attn, and comes back from
// either format as a set that does the same.
func TestGPT2Adapters(t *testing.T) {
	c, path := tinyGPT2(t)
	e := openWith(t, peft.Options{Base: path})
	if _, err := e.Init(ctx, peft.InitOptions{Background: "examples/quickstart/manual/manual.md", Seed: 1}); err != nil {
		t.Fatal(err)
	}
	o := short
	o.Adapter, o.ReportTokens, o.Steps, o.LearningRate = peft.Adapter{Kind: "lora", Rank: 2}, -1, 4, 5e-2
	if _, err := e.Finetune(ctx, "a", o); err != nil {
		t.Fatal(err)
	}
	bare, on := eval(t, e), eval(t, e, "a")
	for i, f := range []peft.Format{peft.FormatHF, peft.FormatGGUF} {
		out := filepath.Join(t.TempDir(), "a")
		if _, err := e.ExportAs("a", out, f); err != nil {
			t.Fatal(err)
		}
		if f == peft.FormatHF {
			a, err := exchange.ReadPEFT(out, c)
			if err != nil || len(a.Modules) != 3*c.Layers || a.Modules[0].LoRA.Rank != 4 || !slices.Equal(a.Modules[0].LoRA.A, a.Modules[2].LoRA.A) {
				t.Errorf("written as PEFT: %+v, %v", a, err)
			}
		}
		name := []string{"hf", "gguf"}[i]
		if _, err := e.AddExperts(ctx, name, peft.AddOptions{From: out, ReportTokens: -1}); err != nil {
			t.Fatal(err)
		}
		if got := eval(t, e, name); math.Abs(got.NLL-on.NLL) > 1e-5*on.NLL || math.Abs(got.NLL-bare.NLL) < 1e-3*bare.NLL {
			t.Errorf("%s: loss %g, want %g; without the set %g", f, got.NLL, on.NLL, bare.NLL)
		}
	}
	if m, err := e.Merge(ctx, []string{"hf"}, filepath.Join(t.TempDir(), "merged"), peft.MergeOptions{Format: peft.FormatHF, Type: "F32"}); err != nil || m.Mean > m.Tolerance || m.Change < 5*m.Mean {
		t.Errorf("merged: %+v, %v", m, err)
	}
}
