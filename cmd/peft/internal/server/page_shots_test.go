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

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var shots = flag.String("shots", "", "`DIRECTORY` in which TestPagePictures takes the page's pictures anew, such as docs of the repository")

// TestPagePictures teaches the built-in base the manual of the quick start, and takes the pictures of the page that the
// documentation shows.
func TestPagePictures(t *testing.T) {
	if *shots == "" {
		t.Skip("run with -shots DIRECTORY")
	}
	p := &place{t: t, dir: filepath.Join(t.TempDir(), "registry")}
	p.start()
	t.Cleanup(func() { p.stop() })
	train := func(set string, data []any, options map[string]any) map[string]any {
		t.Helper()
		return p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": set, "data": data, "options": options})
	}
	upload := func(name string, content []byte) any {
		return map[string]any{"name": name, "content": string(content)}
	}
	var manual []any
	for _, name := range []string{"manual.md", "questions.jsonl"} {
		b, err := os.ReadFile("../../../../examples/quickstart/manual/" + name)
		if err != nil {
			t.Fatal(err)
		}
		manual = append(manual, upload(name, b))
	}
	train("manual", manual, map[string]any{"steps": 40, "learning_rate": 5e-3, "train_all": true, "eval_every": 10})
	train("manual", manual, map[string]any{"steps": 80, "learning_rate": 5e-3, "train_all": true, "eval_every": 10})
	j := train("tarn", []any{upload("tarn.md", []byte(tarn(200)))}, map[string]any{"steps": 12, "batch_tokens": 256, "eval_every": 4})
	p.events(j["id"].(string), nil)

	b := newBrowser(t, p.s.URL, 1280, 800)
	b.set("#set-max_tokens", "24")
	b.set("#set-temperature", "0")
	shot := func(name, scheme string) {
		t.Helper()
		call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		b.js(`document.getElementById('message').value = ''`) // where the keys of a test leave a line
		time.Sleep(600 * time.Millisecond)                    // for charts to be drawn
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
	b.until("chips", `document.querySelector('[data-pick="manual"]')`)
	const question = "What does the error code E-07 mean?\r"
	for i, who := range []string{"Base", "manual", "Auto"} {
		if i > 0 {
			b.click(`[data-pick="` + who + `"]`)
		}
		b.write("#message", question)
		b.until("answer of "+who, answered+string(rune('1'+i)))
	}
	b.js(`document.querySelector('.log').scrollTop = 0`)
	shot("chat", "light")
	for _, model := range []string{"manual", "tarn", "builtin", "manual+tarn"} {
		go func() { // traffic, while there is something to see
			for t.Context().Err() == nil {
				r, err := http.Post(p.s.URL+"/v1/completions", "application/json", body(map[string]any{"model": model, "max_tokens": 300, "prompt": "To descale the machine,"}))
				if err != nil {
					return
				}
				_ = r.Body.Close()
			}
		}()
	}
	b.run(chromedp.EmulateViewport(1280, 1060))
	b.view("usage")
	time.Sleep(12 * time.Second)
	shot("usage", "dark")
	b.run(chromedp.EmulateViewport(1280, 800))
	train("tarn", []any{"tarn.md"}, map[string]any{"steps": 400, "batch_tokens": 256, "eval_every": 5})
	b.view("training")
	b.until("some steps", `document.querySelector('.job .tag.running') && document.querySelector('.job progress').value >= 20 && document.querySelector('.job .uplot')`)
	shot("training", "light")
	b.run(chromedp.EmulateViewport(1280, 1120))
	b.view("sets/manual")
	b.until("the set", `document.querySelector('#sets section[aria-label="Revisions"]')`)
	shot("set", "light")
	b.run(chromedp.EmulateViewport(390, 800, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.view("chat")
	b.js(`document.querySelector('.log').scrollTop = 1e6`)
	shot("phone", "dark")
	b.clean()
}

func body(v any) *bytes.Reader {
	b, _ := json.Marshal(v) // of what this file sends it cannot fail
	return bytes.NewReader(b)
}
