package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPretrain makes a tiny base from a text file and continues a prompt with it.
func TestPretrain(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	for i := range 800 {
		fmt.Fprintf(&text, "Paragraph %d tells of a lighthouse keeper who writes down wind, weather and passing ships.\n\n", i)
	}
	file, out := filepath.Join(dir, "text.txt"), filepath.Join(dir, "tiny.gguf")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	small := []string{"--steps", "4", "--decay", "2", "--vocab", "280", "--hidden", "32", "--layers", "1", "--heads", "1", "--kv-heads", "1",
		"--ffn-width", "32", "--context", "32", "--batch-tokens", "64", "--checkpoint", filepath.Join(dir, "state")}
	peft := func(want int, args ...string) (map[string]any, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"peft", "--json"}, args...), &stdout, &stderr); code != want {
			t.Fatalf("peft %q: exit code %d, want %d\n%s", args, code, want, stderr.String())
		}
		v := map[string]any{}
		if want == exitOK {
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &v); err != nil {
				t.Fatalf("result: %v", err)
			}
		}
		return v, stderr.String()
	}
	v, _ := peft(exitOK, append([]string{"pretrain", out, "--text", file}, small...)...)
	if v["seen_tokens"] != 256.0 || v["perplexity"] == nil || v["bytes"] == 0.0 {
		t.Errorf("result %v", v)
	}
	if v, _ := peft(exitOK, "--base", out, "--registry", filepath.Join(dir, "registry"), "generate", "A lighthouse", "--max-tokens", "3", "--temperature", "0"); v["token_ids"] == nil {
		t.Errorf("generate: %v", v)
	}
	experts := append([]string{"pretrain", filepath.Join(dir, "experts"), "--text", file, "--ffn", "peer", "--ffn-heads", "2", "--ffn-topk", "4", "--ffn-subkeys", "8"},
		append(slices.Clone(small), "--checkpoint", filepath.Join(dir, "other"))...)
	if v, _ := peft(exitOK, experts...); v["ffn"] != "peer" || v["usage"] == nil || v["flops_per_token"] == nil || v["active_parameters"].(float64) >= v["parameters"].(float64) {
		t.Errorf("result %v", v)
	}
	if _, e := peft(exitFailed, "--base", filepath.Join(dir, "experts"), "--registry", filepath.Join(dir, "registry"), "generate", "A lighthouse"); !strings.Contains(e, "experts") {
		t.Errorf("experts as a base: %s", e)
	}
	if _, e := peft(exitUsage, "pretrain", out, "--ffn", "384"); !strings.Contains(e, "--ffn-width") {
		t.Errorf("width as kind: %s", e)
	}
	if _, e := peft(exitFailed, append([]string{"pretrain", out, "--text", file, "--seed", "2"}, small...)...); !strings.Contains(e, "checkpoint") {
		t.Errorf("checkpoint of another run: %s", e)
	}
	if _, e := peft(exitFailed, "pretrain", out, "--text", filepath.Join(dir, "none.txt")); !strings.Contains(e, "none.txt") {
		t.Errorf("missing text: %s", e)
	}
	if _, e := peft(exitUsage, "pretrain", out, "--type", "q3"); !strings.Contains(e, "q8_0") {
		t.Errorf("unknown type: %s", e)
	}
	if _, e := peft(exitFailed, "pretrain", out, "--goroot", dir); !strings.Contains(e, "GOROOT") {
		t.Errorf("no distribution: %s", e)
	}
}
