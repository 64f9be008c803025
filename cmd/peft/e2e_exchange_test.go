package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestE2EExchange takes a LoRA through its life: trained, written for other programs, imported, trained on, written again,
// merged into a model that needs no registry, and taken out again.
func TestE2EExchange(t *testing.T) {
	p := newProgram(t, "builtin")
	data, dir := filepath.Join("..", "..", "examples", "quickstart", "manual", "manual.md"), t.TempDir()
	data = must(filepath.Abs(data))
	at := func(name string) string { return filepath.Join(dir, name) }
	measure := func(p *program, args ...string) map[string]any {
		t.Helper()
		return p.run(append([]string{"eval", "--data", data, "--seq-len", "128", "--max-windows", "4"}, args...)...)
	}
	p.run("finetune", "first", "--data", data, "--kind", "lora", "--targets", "all-linear", "--steps", "8", "--batch-tokens", "256", "--report-tokens", "0")
	p.run("export", "first", at("hf"), "--format", "hf")
	p.run("export", "first", at("lora.gguf"))
	p.run("export", "first", at("first.peft"))
	want := measure(p, "--sets", "first")["logits_sha256"]
	for name, from := range map[string]string{"second": "hf", "third": "lora.gguf", "fourth": "first.peft"} {
		p.run("add-experts", name, "--from", at(from), "--report-tokens", "0")
		if got := measure(p, "--sets", name)["logits_sha256"]; got != want {
			t.Errorf("from %s: logits %v, want %v", from, got, want)
		}
	}
	p.run("add-experts", "routed", "--from", at("hf"), "--data", data, "--routed", "--cover", "0.8", "--report-tokens", "0")
	on := p.run("finetune", "second", "--data", data, "--steps", "4", "--batch-tokens", "256", "--report-tokens", "0")
	if on["revision"] != 2. {
		t.Errorf("trained on: %v", on)
	}
	p.run("export", "second@1", at("again.gguf"))
	if string(must(os.ReadFile(at("again.gguf")))) != string(must(os.ReadFile(at("lora.gguf")))) {
		t.Error("the first revision is written as another file than it was read from")
	}
	with := measure(p, "--sets", "second")["perplexity"].(float64)
	merged := p.run("export", "--merge", "second", at("merged.gguf"), "--type", "F16")
	if merged["mean"].(float64) > merged["tolerance"].(float64) || merged["change"].(float64) < 5*merged["mean"].(float64) {
		t.Errorf("merged: %v", merged)
	}
	alone := *p
	alone.dir, alone.base = filepath.Join(t.TempDir(), "none"), at("merged.gguf")
	if got := measure(&alone)["perplexity"].(float64); got/with > 1.01 || got/with < 0.99 {
		t.Errorf("merged: perplexity %g, want %g", got, with)
	}
	if text := alone.run("generate", "To descale the machine,", "--max-tokens", "4"); len(text["token_ids"].([]any)) == 0 {
		t.Errorf("generated %v", text)
	}
	p.run("export", "second", at("hf2"), "--to", "hf")
	alone.run("export", "--unmerge", at("hf2"), at("back"), "--to", "hf", "--type", "F32")
	alone.base = at("back")
	bare := measure(p)["perplexity"].(float64)
	if got := measure(&alone)["perplexity"].(float64); got/bare > 1.01 || got/bare < 0.99 {
		t.Errorf("taken out again: perplexity %g, want %g", got, bare)
	}
	for _, c := range []struct {
		words []string
		args  []string
	}{
		{[]string{"routed", "in cells", "block"}, []string{"export", "routed", at("x"), "--format", "hf"}},
		{[]string{"routed", "in cells", "block"}, []string{"export", "--merge", "first,routed", at("x")}},
		{[]string{"not found", "nobody"}, []string{"export", "--merge", "nobody", at("x")}},
		{[]string{"its own text"}, []string{"add-experts", "x", "--from", at("first.peft"), "--data", data}},
		{[]string{"adapter_config.json"}, []string{"add-experts", "x", "--from", dir}},
		{[]string{"GGUF"}, []string{"add-experts", "x", "--from", data}},
	} {
		p.fails(1, c.words, c.args...)
	}
	if _, err := os.Stat(at("x")); err == nil {
		t.Error("a refused export left something")
	}
	p.run("verify")
}

// TestOtherPrograms: Hugging Face PEFT and, where it is installed, llama.cpp compute with what the commands write what the
// command logits says. PEFT_PYTHON names a Python with the packages; PEFT_E2E is needed as well.
func TestOtherPrograms(t *testing.T) {
	python := os.Getenv("PEFT_PYTHON")
	if python == "" {
		t.Skip("PEFT_PYTHON names no Python")
	}
	p := newProgram(t, "builtin")
	data, dir := must(filepath.Abs(filepath.Join("..", "..", "examples", "quickstart", "manual", "manual.md"))), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p.run("finetune", "a", "--data", data, "--kind", "lora", "--targets", "all-linear", "--steps", "8", "--batch-tokens", "256", "--report-tokens", "0")
	p.run("finetune", "b", "--data", data, "--kind", "ia3", "--lr", "0.02", "--steps", "8", "--batch-tokens", "256", "--report-tokens", "0")
	p.run("export", "a", at("a"), "--format", "hf")
	p.run("export", "b", at("b"), "--format", "hf")
	p.run("export", "a", at("a.gguf"))
	p.run("export", "--merge", "a,b", at("merged"), "--to", "hf", "--type", "F32")
	p.run("export", "--merge", "a", at("merged-a.gguf"), "--type", "F32")
	other := *p
	p.run("export", "--merge", "a", at("merged-a"), "--to", "hf", "--type", "F32")
	other.base = at("merged-a")
	other.run("export", "--unmerge", at("a"), at("base"), "--to", "hf", "--type", "F32")
	other.run("export", "--unmerge", at("a"), at("base.gguf"), "--type", "F32")

	type job struct {
		Name      string    `json:"name"`
		Tool      string    `json:"tool"`
		Base      string    `json:"base"`
		Adapter   string    `json:"adapter"`
		IDs       []int     `json:"ids"`
		Logits    []float64 `json:"logits"`
		Tolerance float64   `json:"tolerance"`
	}
	var jobs []job
	add := func(tool, base, adapter, sets string) {
		t.Helper()
		args := []string{"logits", "--text", "To descale the machine, open the lid.", "--top", "1000000"}
		if sets != "" {
			args = append(args, "--sets", sets)
		}
		r := p.run(args...)
		j := job{Name: filepath.Base(base) + " and " + filepath.Base(adapter), Tool: tool, Base: base, Adapter: adapter, Tolerance: 2e-3}
		for _, id := range r["token_ids"].([]any) {
			j.IDs = append(j.IDs, int(id.(float64)))
		}
		top := r["top"].([]any)
		j.Logits = make([]float64, len(top))
		for _, v := range top {
			l := v.(map[string]any)
			j.Logits[int(l["id"].(float64))] = l["logit"].(float64)
		}
		jobs = append(jobs, j)
	}
	add("peft", at("base"), "", "")
	add("peft", at("base"), at("a"), "a")
	add("peft", at("base"), at("b"), "b")
	add("peft", at("merged"), "", "a,b")
	add("llama.cpp", at("base.gguf"), at("a.gguf"), "a")
	add("llama.cpp", at("merged-a.gguf"), "", "a")
	file := p.file("jobs.json", string(must(json.Marshal(jobs))))
	cmd := exec.Command(python, filepath.Join("..", "..", "scripts", "adapters_parity.py"), file)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES=")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "base and a") {
		t.Fatal(err)
	}
}
