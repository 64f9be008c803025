package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/basetest"
)

var shots = flag.String("shots", "", "`DIRECTORY` in which TestPagePictures takes the page's pictures anew, such as docs of the repository")

// TestPagePictures uses the page on a real model, and takes the pictures of it that the documentation shows.
func TestPagePictures(t *testing.T) {
	if *shots == "" {
		t.Skip("run with -shots DIRECTORY")
	}
	p := &place{t: t, dir: filepath.Join(t.TempDir(), "registry"), base: basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf")}
	text, err := os.ReadFile(basetest.Shared(t, "data/shakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(func() { p.stop() })
	if _, err := p.e.Init(t.Context(), peft.InitOptions{Background: basetest.Shared(t, "data/wikitext2-valid.txt")}); err != nil {
		t.Fatal(err)
	}
	upload := func(name, content string) map[string]any { return map[string]any{"name": name, "content": content} }
	train := func(set, file, content string, steps int) {
		t.Helper()
		j := p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": set, "data": []any{upload(file, content)},
			"options": map[string]any{"steps": steps, "batch_tokens": 256, "seq_len": 128, "eval_every": max(2, steps/6)}})
		p.events(j["id"].(string), nil)
	}
	train("bard", "shakespeare.txt", string(text[:60000]), 40)
	train("bard", "shakespeare.txt", string(text[:60000]), 10)
	train("tarn", "tarn.md", tarn(200), 10)
	b := newBrowser(t, p.s.URL, 1280, 800)
	b.set("#set-max_tokens", "110")
	b.set("#set-seed", "7")
	b.until("chips", `document.querySelector('[data-pick="bard"]')`)
	shot := func(name string) {
		t.Helper()
		time.Sleep(600 * time.Millisecond) // for charts to be drawn
		img, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(filepath.Join(*shots, "page-"+name+".png"), img, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(img) > 200<<10 {
			t.Errorf("the picture of %s has %d bytes, want at most 200 KiB", name, len(img))
		}
	}
	b.write("#message", "What is a harbour?\r")
	b.until("answer", answered+"1")
	b.click(`[data-pick="bard"]`)
	b.write("#message", "Write a short speech of a king before a battle.\r")
	b.until("answer of the set", answered+"2")
	shot("chat")
	b.view("sets/bard")
	b.until("the set", `document.querySelector('#sets section[aria-label="Revisions"]')`)
	shot("sets")
	b.view("usage")
	for _, model := range []string{"bard", "tarn", "builtin", "bard+tarn"} {
		go func() {
			r, err := http.Post(p.s.URL+"/v1/chat/completions", "application/json", body(map[string]any{"model": model, "max_tokens": 200, "messages": []any{map[string]any{"role": "user", "content": "Tell me a story."}}}))
			if err == nil {
				_ = r.Body.Close()
			}
		}()
	}
	time.Sleep(20 * time.Second) // of traffic
	shot("usage")
	p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": "tarn", "data": []any{"tarn.md"}, "options": map[string]any{"steps": 40, "batch_tokens": 256, "seq_len": 128, "eval_every": 5}})
	b.view("training")
	b.until("some steps", `document.querySelector('.job .tag.running') && document.querySelector('.job progress').value >= 20 && document.querySelector('.job .uplot')`)
	shot("training")
	b.clean()
}

func body(v any) *bytes.Reader {
	b, _ := json.Marshal(v) // of what this file sends it cannot fail
	return bytes.NewReader(b)
}
