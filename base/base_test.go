package base_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

func smollm(t testing.TB, prec kernels.Precision) *base.Base {
	t.Helper()
	pool := kernels.NewPool(2)
	b, err := base.Open(basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"), base.Options{Pool: pool, Precision: prec})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		pool.Close()
	})
	return b
}

type reference struct {
	Logits []struct {
		Text   string
		NLL    float64   `json:"mean_nll"`
		IDs    []int32   `json:"last_top20_ids"`
		Top    []float32 `json:"last_top20_logits"`
		Mean   float64   `json:"last_logit_mean"`
		Hidden []float64 `json:"hidden_l2_last_token"`
	}
	Greedy []struct {
		Text   string
		NewIDs []int32 `json:"new_ids"`
	}
}

// TestParitySmolLM2 compares logits, losses, hidden states and greedy continuations with Hugging Face transformers.
func TestParitySmolLM2(t *testing.T) {
	for _, prec := range []kernels.Precision{kernels.F32, kernels.Stored} {
		tolerance := 2e-3
		if prec == kernels.Stored {
			tolerance = 4e-3 // activations have 16 bits there
		}
		t.Run(prec.String(), func(t *testing.T) { parity(t, smollm(t, prec), tolerance) })
	}
}

func parity(t *testing.T, b *base.Base, tolerance float64) {
	var ref reference
	raw, err := os.ReadFile(basetest.Shared(t, "fixtures/smollm2-135m.json"))
	if err == nil {
		err = json.Unmarshal(raw, &ref)
	}
	if err != nil || len(ref.Logits) == 0 || len(ref.Greedy) == 0 {
		t.Fatal("reference:", err)
	}
	h, v := b.Model.Config.Hidden, b.Model.Config.Vocab
	for _, c := range ref.Logits {
		ids := b.Tokenizer.Encode(c.Text, true)
		x, err := b.Model.Forward(llama.One(ids, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		logits := make([]float32, v)
		b.Model.Logits(logits, x[len(x)-h:], 1)
		for i, id := range c.IDs {
			if d := math.Abs(float64(logits[id] - c.Top[i])); d > tolerance {
				t.Errorf("%q: logit of %d is %v, want %v", c.Text, id, logits[id], c.Top[i])
			}
		}
		r, err := b.Perplexity(context.Background(), ids, base.EvalOptions{SeqLen: 512})
		if err != nil || math.Abs(r.NLL-c.NLL) > 1e-3 {
			t.Errorf("%q: mean NLL %+v, want %v: %v", c.Text, r, c.NLL, err)
		}
		for n, want := range c.Hidden[:len(c.Hidden)-1] {
			x, err := b.Model.ForwardTo(llama.One(ids, nil), nil, n)
			if err != nil {
				t.Fatal(err)
			}
			if got := float64(kernels.Norm2(x[len(x)-h:])); math.Abs(got-want) > 2e-3*want {
				t.Errorf("%q: hidden state %d has norm %v, want %v", c.Text, n, got, want)
			}
		}
	}
	for _, c := range ref.Greedy {
		got, _, err := b.Generate(context.Background(), b.Tokenizer.Encode(c.Text, true), base.GenOptions{MaxTokens: len(c.NewIDs)}, nil)
		want := c.NewIDs
		if n := len(want); n > 0 && b.Tokenizer.IsEOS(want[n-1]) {
			want = want[:n-1] // Generate leaves the end token out
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q continues %v, want %v: %v", c.Text, got, want, err)
		}
	}
}

// TestPerplexityParity takes a minute of both cores.
func TestPerplexityParity(t *testing.T) {
	if os.Getenv("PEFT_SLOW") == "" {
		t.Skip("set PEFT_SLOW=1 to measure perplexities")
	}
	for _, prec := range []kernels.Precision{kernels.F32, kernels.Stored, kernels.BF16, kernels.Int8} {
		b := smollm(t, prec)
		for file, want := range map[string]float64{"data/wikitext2-valid.txt": 19.7522, "data/shakespeare.txt": 43.9108} {
			text, err := os.ReadFile(basetest.Shared(t, file))
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			r, err := b.Perplexity(context.Background(), b.Tokenizer.Encode(string(text), false), base.EvalOptions{SeqLen: 512, MaxWindows: 16})
			tolerance := 0.02
			switch prec { // those of training
			case kernels.BF16:
				tolerance = 0.005 * want
			case kernels.Int8:
				tolerance = 0.03 * want
			}
			if err != nil || math.Abs(r.Perplexity-want) > tolerance {
				t.Errorf("%v, %s: %+v, want %v: %v", b.Model.Precision(), file, r, want, err)
			}
			t.Logf("%v, %s: perplexity %.4f, %.0f tokens/s", b.Model.Precision(), file, r.Perplexity, float64(r.Tokens)/time.Since(begun).Seconds())
		}
	}
}
