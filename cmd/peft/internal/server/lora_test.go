package server

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft"
)

// TestLoadLora: a LoRA in Hugging Face's format that lies in the uploads' directory is loaded by vLLM's call, answers as the
// set that it was exported from, and is unloaded again.
func TestLoadLora(t *testing.T) {
	uploads := filepath.Join(t.TempDir(), "uploads")
	e, _, s := started(t, begun(t, trained), Options{Uploads: uploads})
	data := filepath.Join(t.TempDir(), "tarn.txt")
	if err := os.WriteFile(data, []byte(tarn(60)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := peft.FinetuneOptions{Data: []string{data}, Steps: 4, BatchTokens: 128, SeqLen: 64, LearningRate: 2e-2, ReportTokens: -1}
	o.Kind, o.Rank, o.Targets = "lora", 4, []string{"q_proj", "v_proj"}
	if _, err := e.Finetune(context.Background(), "tuned", o); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ExportAs("tuned", filepath.Join(uploads, "given"), peft.FormatHF); err != nil {
		t.Fatal(err)
	}
	text := func(model string) string {
		t.Helper()
		code, v := post(t, s, "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"The tarn lies","max_tokens":12,"temperature":0,"ignore_eos":true}`, model))
		if code != http.StatusOK {
			t.Fatalf("%s: %d %v", model, code, v)
		}
		return first(v, "choices")["text"].(string)
	}
	want := text("tuned")
	if want == text("builtin") {
		t.Fatalf("the set changes nothing: %q", want)
	}
	call := func(path, body string) int {
		t.Helper()
		r, err := http.Post(s.URL+path, "application/json", strings.NewReader(body)) // its answers are no JSON, as vLLM's are not
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		return r.StatusCode
	}
	if code := call("/v1/load_lora_adapter", `{"lora_name":"given","lora_path":"given"}`); code != http.StatusOK {
		t.Fatalf("load: %d", code)
	}
	if got := text("given"); got != want {
		t.Errorf("the loaded adapter says %q, want %q", got, want)
	}
	if code := call("/v1/unload_lora_adapter", `{"lora_name":"given"}`); code != http.StatusOK {
		t.Fatalf("unload: %d", code)
	}
	if code, v := post(t, s, "/v1/completions", `{"model":"given","prompt":"The"}`); code != http.StatusNotFound {
		t.Errorf("after it was unloaded: %d %v", code, v)
	}
	if code := call("/peft/v1/files?name=notes.txt", "no adapter"); code != http.StatusCreated {
		t.Fatalf("upload: %d", code)
	}
	if code, v := post(t, s, "/v1/load_lora_adapter", `{"lora_name":"notes","lora_path":"notes.txt"}`); code != http.StatusBadRequest {
		t.Errorf("a text as an adapter: %d %v", code, v)
	}
}
