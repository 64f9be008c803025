package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/basetest"
)

// TestOpenAIClient: OpenAI's own clients for Python and Go, unchanged, against a started server, on the built-in base and on a chat
// model. PEFT_PYTHON names a Python with the package; PEFT_E2E is needed as well.
func TestOpenAIClient(t *testing.T) {
	python := os.Getenv("PEFT_PYTHON")
	if python == "" {
		t.Skip("PEFT_PYTHON names no Python")
	}
	t.Run("built-in", func(t *testing.T) { openAIClient(t, python, "builtin", "0") })
	t.Run("chat", func(t *testing.T) {
		openAIClient(t, python, basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"), "1")
	})
}

func openAIClient(t *testing.T, python, base, chat string) {
	p := newProgram(t, base)
	model := ""
	if base == "builtin" { // another one would first need a router, which takes minutes
		model = "manual"
		data := must(filepath.Abs(filepath.Join("..", "..", "examples", "quickstart", "manual", "manual.md")))
		p.run("finetune", model, "--data", data, "--steps", "4", "--batch-tokens", "256", "--report-tokens", "0")
	}
	server := exec.Command(p.bin, "--registry", p.dir, "--base", base, "serve", "--listen", "127.0.0.1:0")
	said := must(server.StderrPipe())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	url := ""
	for sc := bufio.NewScanner(said); url == "" && sc.Scan(); {
		if i := strings.Index(sc.Text(), "http://"); i >= 0 {
			url, _, _ = strings.Cut(sc.Text()[i:], " ")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	out, err := exec.Command(python, filepath.Join("..", "..", "scripts", "openai_client.py"), url, model, chat).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "errors") {
		t.Fatal(err)
	}
	if model == "" {
		return
	}
	out, err = exec.Command("go", "run", "-C", filepath.Join("..", "..", "scripts", "_openai"), ".", url, model).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
