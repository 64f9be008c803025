package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/gguf/gguftest"
	"github.com/gopeft/peft/hub/hubtest"
)

// repository returns the built-in base as the files of a Hugging Face directory.
func repository(t *testing.T) map[string][]byte {
	t.Helper()
	b, err := base.Open(base.Builtin, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "dir")
	if err := b.WriteHF(dir, b.Model.Source(), "F16"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"pytorch_model.bin": []byte("pickle")}
	for _, e := range list {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestPull pulls a model from a hub, generates with it by its name, lists it and removes it.
func TestPull(t *testing.T) {
	h := hubtest.New(t, "acme/tiny", repository(t))
	h.Token = "hf_secret"
	t.Setenv("HF_ENDPOINT", h.URL())
	t.Setenv("HF_TOKEN", "hf_secret")
	dir := t.TempDir()
	ok := func(args ...string) map[string]any {
		t.Helper()
		code, out, errs := call(t, append([]string{"--json", "--registry", filepath.Join(dir, "r"), "--cache", filepath.Join(dir, "c")}, args...)...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil {
			t.Fatalf("peft %v: %d %v\n%s%s", args, code, err, out, errs)
		}
		return v
	}
	fails := func(want int, words []string, args ...string) {
		t.Helper()
		code, out, errs := call(t, append([]string{"--registry", filepath.Join(dir, "r"), "--cache", filepath.Join(dir, "c")}, args...)...)
		if code != want || strings.HasPrefix(errs, "peft: hub: hub:") {
			t.Errorf("peft %v: exit code %d, want %d\n%s%s", args, code, want, out, errs)
		}
		for _, w := range words {
			if !strings.Contains(errs, w) {
				t.Errorf("peft %v says %q, want %q in it", args, errs, w)
			}
		}
	}
	fails(1, []string{"peft pull acme/tiny"}, "--base", "acme/tiny", "generate", "x")
	fails(1, []string{"peft pull OWNER/NAME"}, "--base", "tiny", "generate", "x")
	fails(1, []string{"acme/small", "look at the name"}, "pull", "acme/small")
	fails(1, []string{"no such branch"}, "pull", "acme/tiny@gone")
	fails(1, []string{"owner/name", "openai-community/gpt2"}, "pull", "tiny")
	fails(2, []string{"OWNER/NAME"}, "pull")
	fails(2, []string{"pull"}, "pull", "--remove", "tiny", "acme/tiny")

	pulled := ok("pull", "acme/tiny")
	if pulled["name"] != "acme/tiny" || pulled["commit"] != hubtest.Commit || pulled["kind"] != "safetensors" || pulled["architecture"] != "llama" {
		t.Errorf("%v", pulled)
	}
	if _, err := os.Stat(filepath.Join(pulled["dir"].(string), "pytorch_model.bin")); !os.IsNotExist(err) {
		t.Errorf("a pickle was pulled: %v", err)
	}
	h.Token = "" // from here on nothing may be asked
	h.Requests()
	want := ok("generate", "package main", "--max-tokens", "8")["text"]
	for _, ref := range []string{"acme/tiny", "tiny", "tiny@main", "acme/tiny@0123456"} {
		if got := ok("--base", ref, "generate", "package main", "--max-tokens", "8")["text"]; got != want || want == "" {
			t.Errorf("--base %s writes %q, the built-in base it is of %q", ref, got, want)
		}
	}
	bases := ok("list", "--bases")["bases"].([]any)
	if len(bases) != 2 || bases[0].(map[string]any)["name"] != "builtin" || bases[1].(map[string]any)["name"] != "acme/tiny" {
		t.Errorf("%v", bases)
	}
	code, out, errs := call(t, "--cache", filepath.Join(dir, "c"), "list", "--bases")
	for _, w := range []string{"builtin", "acme/tiny", "llama", "main 0123456", pulled["dir"].(string)} {
		if code != 0 || !strings.Contains(out, w) {
			t.Errorf("list --bases: %d, want %q in\n%s%s", code, w, out, errs)
		}
	}
	if r := h.Requests(); len(r) != 0 {
		t.Errorf("%d requests by commands that need none", len(r))
	}
	h.Token = "hf_secret"
	ok("pull", "acme/tiny@v1")
	if v := ok("pull", "--remove", "tiny@main"); v["removed"] != "acme/tiny@main" || v["bytes"].(float64) != 0 {
		t.Errorf("%v", v)
	}
	if v := ok("list", "--bases")["bases"].([]any)[1].(map[string]any)["revisions"]; !reflect.DeepEqual(v, []any{"v1"}) {
		t.Errorf("%v", v)
	}
	if v := ok("pull", "--remove", "tiny"); v["removed"] != "acme/tiny" || v["bytes"].(float64) < pulled["bytes"].(float64) {
		t.Errorf("%v", v)
	}
	fails(1, []string{"peft pull acme/tiny"}, "--base", "acme/tiny", "generate", "x")
}

// TestPullGGUF chooses among several files, and refuses an adapter as a base.
func TestPullGGUF(t *testing.T) {
	model, err := os.ReadFile(filepath.Join("..", "..", "base", "builtin", "model", "base.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	run := func(args ...string) (int, string) {
		code, out, errs := call(t, append([]string{"--registry", filepath.Join(cache, "..", "r"), "--cache", cache}, args...)...)
		return code, out + errs
	}
	h := hubtest.New(t, "acme/quants", map[string][]byte{"m.Q4_1.gguf": model, "m.Q8_0.gguf": model})
	t.Setenv("HF_ENDPOINT", h.URL())
	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{1, "m.Q4_1.gguf, m.Q8_0.gguf", []string{"pull", "acme/quants"}},
		{0, "acme/quants@main: ", []string{"pull", "acme/quants", "--file", "*Q4_1*"}},
		{0, "x", []string{"--base", "quants", "generate", "x", "--max-tokens", "1"}},
		{0, "acme/quants@main: ", []string{"pull", "acme/quants", "--file", "*Q8_0*"}},
		{1, "acme/quants/FILE", []string{"--base", "quants", "generate", "x", "--max-tokens", "1"}},
		{0, "x", []string{"--base", "acme/quants/m.Q8_0.gguf", "generate", "x", "--max-tokens", "1"}},
		{0, "llama", []string{"list", "--bases"}},
	} {
		if code, said := run(c.args...); code != c.code || !strings.Contains(said, c.say) {
			t.Errorf("peft %v: exit code %d, want %d and %q\n%s", c.args, code, c.code, c.say, said)
		}
	}
	files := map[string][]byte{}
	for i, p := range gguftest.Split(t, model, 3) {
		files[gguftest.PartName("m", i, 3)] = p.Bytes(t)
	}
	h = hubtest.New(t, "acme/split", files)
	t.Setenv("HF_ENDPOINT", h.URL())
	if code, said := run("pull", "acme/split", "--file", "*-00002-*"); code != 0 {
		t.Error(said)
	}
	if code, said := run("--base", "split", "generate", "x", "--max-tokens", "1"); code != 0 {
		t.Error(said)
	}
	h = hubtest.New(t, "acme/lora", map[string][]byte{"adapter_config.json": []byte("{}"), "adapter_model.safetensors": []byte("x")})
	t.Setenv("HF_ENDPOINT", h.URL())
	if code, said := run("pull", "acme/lora"); code != 0 {
		t.Error(said)
	}
	if code, said := run("--base", "acme/lora", "generate", "x"); code != 1 || !strings.Contains(said, "is an adapter") {
		t.Errorf("%d %s", code, said)
	}
}

// TestBytesProgress shows sizes, not numbers of bytes.
func TestBytesProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.report(peft.Progress{Task: "pull a/b", Done: 1 << 20, Total: 3 << 20, Unit: "bytes", Note: "f"})
	p.began = p.began.Add(-4 * time.Second)
	p.report(peft.Progress{Task: "pull a/b", Done: 3 << 20, Total: 3 << 20, Unit: "bytes", Note: "f"})
	if got := out.String(); !strings.HasPrefix(got, "pull a/b 1.0 MiB/3.0 MiB, f\npull a/b 3.0 MiB/3.0 MiB, ") || !strings.HasSuffix(got, " KiB/s, f\n") {
		t.Errorf("%q", got)
	}
}
