package llama_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

// tiny are random models saved by Hugging Face transformers, with what it computes.
var tiny = []string{"tiny-llama-untied", "tiny-llama31-rope", "tiny-mistral", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2", "tiny-gpt2"}

// fixture is one of them.
type fixture struct {
	c   llama.Config
	src llama.Source
	ref reference
}

type reference struct {
	IDs   []int32   `json:"ids"`
	NLL   float64   `json:"mean_nll"`
	Last  []float32 `json:"last_logits"`
	First []float32 `json:"first_logits"`
}

func openTiny(t testing.TB, name string) (f fixture) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	if name != "tiny-gemma2" {
		dir = basetest.Shared(t, "fixtures/"+name)
	}
	b, err := os.ReadFile(filepath.Join(dir, "reference.json"))
	if err == nil {
		err = json.Unmarshal(b, &f.ref)
	}
	if err != nil || len(f.ref.Last) == 0 {
		t.Fatal("reference:", err)
	}
	f.c, f.src = llamatest.Open(t, dir)
	return f
}

// logits of all tokens, [tokens, vocab].
func logits(t testing.TB, m *llama.Model, ids []int32) []float32 {
	t.Helper()
	x, err := m.Forward(llama.One(ids, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, len(ids)*m.Config.Vocab)
	m.Logits(y, x, len(ids))
	return y
}

func TestParityTiny(t *testing.T) {
	for _, name := range tiny {
		t.Run(name, func(t *testing.T) {
			f := openTiny(t, name)
			m, err := llama.New(f.c, f.src, kernels.F32, nil)
			if err != nil {
				t.Fatal(err)
			}
			n, v := len(f.ref.IDs), f.c.Vocab
			y := logits(t, m, f.ref.IDs)
			if d := max(maxDiff(y[:v], f.ref.First), maxDiff(y[(n-1)*v:], f.ref.Last)); d > 1e-4 {
				t.Errorf("logits differ by %g", d)
			}
			x, err := m.Forward(llama.One(f.ref.IDs, nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			loss, w := make([]float32, n-1), make([]float32, n-1)
			for i := range w {
				w[i] = 1 / float32(n-1)
			}
			m.HeadLoss(loss, nil, x[:(n-1)*f.c.Hidden], f.ref.IDs[1:], w)
			var nll float64
			for _, l := range loss {
				nll += float64(l)
			}
			if math.Abs(nll-f.ref.NLL) > 1e-4 {
				t.Errorf("mean NLL %v, want %v", nll, f.ref.NLL)
			}
		})
	}
}

// holds returns what GGUF can hold of a configuration: no windows of Qwen's, no query scalar of Gemma's.
func holds(c llama.Config) llama.Config {
	c.QueryScalar = 0
	if c.Family == llama.Qwen2 {
		c.Window, c.Windowed = 0, nil
	}
	return c
}

// inGGUF returns a model as llama.cpp has it.
func inGGUF(t testing.TB, c llama.Config, src llama.Source, kind gguf.Type) *gguf.File {
	t.Helper()
	c = holds(c)
	meta, err := c.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := llama.WriteGGUF(&b, &c, src, meta, kind); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestParityGGUF: the same bits from either file.
func TestParityGGUF(t *testing.T) {
	for _, name := range tiny {
		t.Run(name, func(t *testing.T) {
			hf := openTiny(t, name)
			f := inGGUF(t, hf.c, hf.src, gguf.F32)
			c, err := llama.ConfigFromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			if c.Family == llama.Gemma2 {
				c.QueryScalar = hf.c.QueryScalar // which GGUF does not hold
			}
			want, err := llama.New(hf.c, hf.src, kernels.F32, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := llama.New(c, llama.FromGGUF(f, c), kernels.F32, nil)
			if err != nil {
				t.Fatal(err)
			}
			x, y := logits(t, got, hf.ref.IDs), logits(t, want, hf.ref.IDs)
			if hf.c.RopeScaling != nil { // the file holds its results instead, rounded to f32
				if d := maxDiff(x, y); d > 1e-5 {
					t.Errorf("logits differ by %g", d)
				}
			} else if !slices.Equal(x, y) {
				t.Error("logits differ")
			}
		})
	}
}

// TestCodedFamilies: products with a file's codes give what its weights do when they are widened.
func TestCodedFamilies(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) {
			c.Hidden, c.HeadDim, c.FFN = 64, 16, 96 // blocks of 32
			if c.Windowed != nil {
				c.Windowed = []bool{true, false, true}
			}
			f := inGGUF(t, c, llamatest.Random(c, 1), gguf.Q8_0)
			var y [2][]float32
			for i, prec := range []kernels.Precision{kernels.F32, kernels.Stored} {
				m, err := llama.New(c, llama.FromGGUF(f, c), prec, nil)
				if err != nil {
					t.Fatal(err)
				}
				if m.Coded() != (prec == kernels.Stored && kernels.HasVNNI()) {
					t.Errorf("%v: coded is %v", prec, m.Coded())
				}
				y[i] = logits(t, m, tokens(20, c.Vocab))
			}
			if d := maxDiff(y[0], y[1]); d > 0.02 {
				t.Errorf("logits differ by %g", d)
			}
		})
	}
}
