package exchange

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// TestParitySmolLM: adapters that Hugging Face PEFT trained on SmolLM2 give, merged into it, the logits that PEFT computes.
func TestParitySmolLM(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	b, err := base.Open(basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"), base.Options{Precision: kernels.F32, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &b.Model.Config
	for name, modules := range map[string]int{"hf-lora-qv-r8": 60, "hf-ia3": 90} {
		t.Run(name, func(t *testing.T) {
			dir := basetest.Shared(t, "fixtures/"+name)
			var texts []struct {
				Text   string    `json:"text"`
				NLL    float64   `json:"mean_nll"`
				IDs    []int32   `json:"last_top10_ids"`
				Logits []float32 `json:"last_top10_logits"`
			}
			j, err := os.ReadFile(filepath.Join(dir, "reference.json"))
			if err == nil {
				err = json.Unmarshal(j, &texts)
			}
			if err != nil || len(texts) == 0 {
				t.Fatal("reference:", err)
			}
			a, err := ReadPEFT(dir, c)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Modules) != modules {
				t.Errorf("%d modules, want %d", len(a.Modules), modules)
			}
			with, err := Merge(b.Model.Source(), c, Weighted{a, 1})
			if err != nil {
				t.Fatal(err)
			}
			m, err := llama.New(*c, with, kernels.F32, pool)
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range texts {
				ids := b.Tokenizer.Encode(ref.Text, true)
				n := len(ids)
				x, err := m.Forward(llama.One(ids, nil), nil)
				if err != nil {
					t.Fatal(err)
				}
				y := make([]float32, c.Vocab)
				m.Logits(y, x[(n-1)*c.Hidden:], 1)
				var worst float64
				for i, id := range ref.IDs {
					worst = max(worst, math.Abs(float64(y[id]-ref.Logits[i])))
				}
				losses, weights := make([]float32, n-1), make([]float32, n-1)
				for i := range weights {
					weights[i] = 1 / float32(n-1)
				}
				m.HeadLoss(losses, nil, x[:(n-1)*c.Hidden], ids[1:], weights)
				var nll float64
				for _, l := range losses {
					nll += float64(l)
				}
				if len(ref.IDs) == 0 || !(worst < 2e-3) || !(math.Abs(nll-ref.NLL) < 2e-3) {
					t.Errorf("%q: logits %g away, mean NLL %g, want %g", ref.Text, worst, nll, ref.NLL)
				}
				t.Logf("%q: logits at most %.2g away, mean NLL %.6f, want %.6f", ref.Text, worst, nll, ref.NLL)
			}
		})
	}
}
