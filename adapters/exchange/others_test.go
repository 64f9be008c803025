package exchange

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

// job is one of scripts/adapters_parity.py.
type job struct {
	Name      string    `json:"name"`
	Tool      string    `json:"tool"`
	Base      string    `json:"base"`
	Adapter   string    `json:"adapter"`
	Out       string    `json:"out,omitempty"`
	IDs       []int32   `json:"ids"`
	Logits    []float32 `json:"logits"`
	Tolerance float64   `json:"tolerance"`
}

// TestOtherPrograms writes adapters for the built-in base and for a GPT-2, and models merged with them; Hugging Face PEFT and
// llama.cpp compute with them what this package says. PEFT_PYTHON names a Python with the packages peft, gguf and llama_cpp,
// or some.
func TestOtherPrograms(t *testing.T) {
	python := os.Getenv("PEFT_PYTHON")
	if python == "" {
		t.Skip("PEFT_PYTHON names no Python")
	}
	b, err := base.Open(base.Builtin, base.Options{Precision: kernels.F32})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	t.Run("builtin", func(t *testing.T) { otherPrograms(t, python, b) })
	t.Run("gpt2", func(t *testing.T) {
		_, path := llamatest.GPT2(t, b.Tokenizer, b.Model.Config.Vocab, 32, 128)
		g, err := base.Open(path, base.Options{Precision: kernels.F32})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		otherPrograms(t, python, g)
	})
}

// otherPrograms compares what is written for one base.
func otherPrograms(t *testing.T, python string, b *base.Base) {
	c, src, dir := &b.Model.Config, b.Model.Source(), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	writeGGUF := func(name string, src llama.Source, typ gguf.Type) {
		t.Helper()
		f, err := os.Create(at(name))
		if err == nil {
			err = errors.Join(b.WriteGGUF(f, src, typ), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ids := b.Tokenizer.Encode("Package bufio implements buffered I/O.", true)
	last := func(src llama.Source) []float32 { return logits(t, c, src, ids)[(len(ids)-1)*c.Vocab:] }

	writeGGUF("base.gguf", src, gguf.F32)
	if err := b.WriteHF(at("base"), src, "F32"); err != nil {
		t.Fatal(err)
	}
	jobs := []job{{Name: "base", Tool: "peft", Base: at("base"), Logits: last(src)}, {Name: "base", Tool: "llama.cpp", Base: at("base.gguf"), Logits: last(src)}}
	converted := map[string]*Adapter{}
	for _, kind := range []string{"lora", "scales", "dora", "ia3"} {
		a := everywhere(c, kind)
		with, err := Merge(src, c, Weighted{a, 1})
		if err != nil {
			t.Fatal(err)
		}
		want := last(with)
		if d := largest(want, jobs[0].Logits); d < 0.5 {
			t.Errorf("%s changes logits by %g only: the test shows nothing", kind, d)
		}
		if err := errors.Join(WritePEFT(at(kind), a, c), b.WriteHF(at(kind+"-merged"), with, "F32")); err != nil {
			t.Fatal(err)
		}
		writeGGUF(kind+"-merged.gguf", with, gguf.F32)
		jobs = append(jobs,
			job{Name: kind, Tool: "peft", Base: at("base"), Adapter: at(kind), Logits: want},
			job{Name: kind + " merged", Tool: "peft", Base: at(kind + "-merged"), Logits: want},
			job{Name: kind + " merged", Tool: "llama.cpp", Base: at(kind + "-merged.gguf"), Logits: want})
		if kind == "dora" || kind == "ia3" {
			continue
		}
		f, err := os.Create(at(kind + ".gguf"))
		if err == nil {
			err = errors.Join(WriteGGUF(f, a, c, gguf.F32), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job{Name: kind, Tool: "llama.cpp", Base: at("base.gguf"), Adapter: at(kind + ".gguf"), Logits: want})
		if kind == "lora" && c.Family == llama.Llama {
			out := at("converted.gguf")
			converted[out] = a
			jobs = append(jobs,
				job{Name: "converted lora", Tool: "convert", Base: at("base"), Adapter: at(kind), Out: out},
				job{Name: "converted lora", Tool: "llama.cpp", Base: at("base.gguf"), Adapter: out, Logits: want})
		}
	}
	for i := range jobs {
		jobs[i].IDs, jobs[i].Tolerance = ids, 1e-3
		if c.Family == llama.GPT2 && jobs[i].Tool == "llama.cpp" {
			jobs[i].Tolerance = 3e-3 // it looks GELU up in a table of halves
		}
	}
	inPython(t, python, dir, jobs)
	for file, want := range converted {
		if _, err := os.Stat(file); err != nil {
			t.Log("no conversion:", err)
			continue
		}
		got, err := ReadGGUF(file, c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want.Modules {
			if d := largest(product(c, &got.Modules[i]), product(c, &want.Modules[i])); d > 1e-6 {
				t.Errorf("converted %s is %g away", want.Modules[i].Name(), d)
			}
		}
	}
}

// inPython runs jobs, whose files are in a directory.
func inPython(t *testing.T, python, dir string, jobs []job) {
	t.Helper()
	file := filepath.Join(dir, "jobs.json")
	j, err := json.Marshal(jobs)
	if err == nil {
		err = os.WriteFile(file, j, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join("..", "..", "scripts", "adapters_parity.py"), file)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES=")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// TestOtherProgramsTinyGPT2 writes adapters for a GPT-2 that transformers saved, with queries, keys and values that have one A
// and with others; PEFT computes with them what this package says.
func TestOtherProgramsTinyGPT2(t *testing.T) {
	python := os.Getenv("PEFT_PYTHON")
	if python == "" {
		t.Skip("PEFT_PYTHON names no Python")
	}
	path, dir := basetest.Shared(t, "fixtures/tiny-gpt2"), t.TempDir()
	c, src := llamatest.Open(t, path)
	ids := []int32{3, 1, 4, 1, 5, 9, 2, 6, 200}
	last := func(src llama.Source) []float32 { return logits(t, &c, src, ids)[(len(ids)-1)*c.Vocab:] }
	jobs := []job{{Name: "base", Base: path, Logits: last(src)}}
	for _, kind := range []string{"lora", "one A", "scales", "dora", "ia3"} {
		a := everywhere(&c, kind)
		if kind == "one A" {
			shareA(a)
		}
		with, err := Merge(src, &c, Weighted{a, 1})
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, kind)
		if err := WritePEFT(at, a, &c); err != nil {
			t.Fatal(err)
		}
		j := job{Name: kind, Base: path, Adapter: at, Logits: last(with)}
		if d := largest(j.Logits, jobs[0].Logits); d < 0.05 {
			t.Errorf("%s changes logits by %g only: the test shows nothing", kind, d)
		}
		jobs = append(jobs, j)
	}
	for i := range jobs {
		jobs[i].Tool, jobs[i].IDs, jobs[i].Tolerance = "peft", ids, 1e-4
	}
	inPython(t, python, dir, jobs)
}

// everywhere makes an adapter for all linear layers of a base; kind scales is a LoRA whose ranks and scales differ.
func everywhere(c *llama.Config, kind string) *Adapter {
	rnd := rand.New(rand.NewPCG(7, 7))
	values := func(n int, mean, spread float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(mean + spread*rnd.NormFloat64())
		}
		return x
	}
	a := &Adapter{Base: "builtin"}
	for block := range c.Layers {
		for _, s := range c.LinearSites() {
			in, out := c.Dims(s)
			m := Module{Block: block, Site: s}
			if kind == "ia3" {
				m.IA3 = &IA3{Vector: values(out, 1, 0.1)}
				if s == llama.Down {
					m.IA3 = &IA3{Vector: values(in, 1, 0.1), Input: true}
				}
				a.Modules = append(a.Modules, m)
				continue
			}
			l := &LoRA{Rank: 4, Scale: 2}
			if kind == "scales" {
				l.Rank += block
				l.Scale = float32(1 + 0.3*float64(s))
			}
			l.A, l.B = values(l.Rank*in, 0, 1/math.Sqrt(float64(in))), values(out*l.Rank, 0, 0.03)
			if kind == "dora" {
				l.Magnitude = values(out, 1, 0.05)
			}
			m.LoRA = l
			a.Modules = append(a.Modules, m)
		}
	}
	return a
}
