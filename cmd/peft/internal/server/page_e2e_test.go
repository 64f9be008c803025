package server

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var views = []string{"chat", "sets", "sets/tarn", "usage", "training"}

// TestPageInBrowser uses the page as people do, on the built-in base.
func TestPageInBrowser(t *testing.T) {
	if os.Getenv("PEFT_E2E") != "1" {
		t.Skip("set PEFT_E2E=1")
	}
	p := newPlace(t)
	p.want(http.StatusCreated, "POST", "/peft/v1/sets", map[string]any{"name": "tarn", "data": []any{map[string]any{"name": "tarn.txt", "content": tarn(60)}}})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *place)
	}{
		{"chat", chatInBrowser}, {"drop a file, train, choose the set", trainInBrowser}, {"sets", setsInBrowser}, {"errors", errorsInBrowser},
		{"names", namesInBrowser}, {"keyboard", keyboardInBrowser}, {"phone", phoneInBrowser}, {"dark", darkInBrowser},
	} {
		t.Run(test.name, func(t *testing.T) {
			here := *p
			here.t = t
			test.run(t, &here)
		})
	}
}

const answered = `document.querySelectorAll('.turn:not(.user) footer .meta').length === `

func chatInBrowser(t *testing.T, p *place) {
	b := newBrowser(t, p.s.URL, 1280, 860)
	b.until("chip of the set", `document.querySelector('[data-pick="tarn"]')`)
	b.js(`globalThis.sizes = new Set(); new MutationObserver(() => sizes.add(document.querySelector('.turn:not(.user) .text')?.textContent.length)).observe(document.querySelector('.log'), { childList: true, subtree: true })`)
	b.write("#message", "Explain what a package is.")
	b.click(".composer [type=submit]")
	b.until("answer", answered+"1")
	if n := eval[int](b, `sizes.size`); n < 5 {
		t.Errorf("the answer came in %d pieces", n)
	}
	b.click(`[data-pick="tarn"]`)
	b.write("#message", "And now?\r")
	b.until("answer of the set", answered+"2")
	if by := eval[string](b, `[...document.querySelectorAll('.turn:not(.user) > header')].at(-1).textContent`); by != "tarn" {
		t.Errorf("the second answer is by %q", by)
	}
	b.click(".again")
	b.until("the answer again", answered+"2 && document.querySelectorAll('.turn').length === 4")
	// An answer is stopped. The page presses by itself at the first text it sees: from here a short answer may have ended
	// before the button is found. One may end even before that, so several are asked for.
	b.set("#set-max_tokens", "400")
	b.js(`new MutationObserver(() => {
		const text = [...document.querySelectorAll('.turn.writing .text')].at(-1)?.textContent
		if (text?.length > 5) document.querySelector('[aria-label="Stop"]')?.click()
	}).observe(document.querySelector('.log'), { childList: true, characterData: true, subtree: true })`)
	said := ""
	for range 10 {
		b.click("#chat .head button")
		b.until("a new chat", `!document.querySelector('.turn')`)
		b.write("#message", "Go on.\r")
		b.until("the end", `document.querySelector('.turn:not(.user) .meta') && document.querySelector('[aria-label="Send"]') && !document.querySelector('.writing')`)
		if said = eval[string](b, `[...document.querySelectorAll('.meta')].at(-1).textContent`); strings.Contains(said, "stopped") {
			break
		}
	}
	if !strings.Contains(said, "stopped") {
		t.Errorf("none of ten answers was stopped; the last says %q", said)
	}
	b.clean()
}

func trainInBrowser(t *testing.T, p *place) {
	file := filepath.Join(t.TempDir(), "harbour.md")
	if err := os.WriteFile(file, []byte(strings.Repeat("The harbour opens at dawn. Boats leave with the tide.\n", 80)), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, p.s.URL, 1280, 860)
	b.write("#message", "A first question\r") // a chat goes on meanwhile
	b.view("training")
	b.drop(".zone", file)
	b.until("the file", `document.querySelector('.files li:not(.uploading)')`)
	b.click(".job-form summary")
	for id, v := range map[string]string{"steps": "8", "eval_every": "4", "seq_len": "64", "batch_tokens": "128"} {
		b.set("#job-"+id, v)
	}
	if name := eval[string](b, `document.getElementById('job-name').value`); name != "harbour" {
		t.Errorf("the set's name is proposed as %q", name)
	}
	b.click(".job-form [type=submit]")
	b.until("the job's end", `document.querySelector('.job .tag.done')`)
	b.until("the loss curve", `document.querySelector('.job .uplot canvas')`)
	if label := eval[string](b, `document.querySelector('.job figure').getAttribute('aria-label')`); !strings.Contains(label, "at step 8") {
		t.Errorf("the curve says %q", label)
	}
	b.view("chat")
	b.until("chip of the new set", `document.querySelector('[data-pick="harbour"]')`)
	b.click(`[data-pick="harbour"]`)
	b.write("#message", "When does the harbour open?\r")
	b.until("answers", answered+"2")
	if by := eval[string](b, `[...document.querySelectorAll('.turn:not(.user) > header')].at(-1).textContent`); by != "harbour" {
		t.Errorf("the answer is by %q", by)
	}
	b.clean()
}

// setsInBrowser rolls the set back that trainInBrowser made, and removes it.
func setsInBrowser(t *testing.T, p *place) {
	p.want(http.StatusOK, "POST", "/peft/v1/sets/harbour/prune", map[string]any{"keep": 0.5})
	b := newBrowser(t, p.s.URL+"/#sets", 1280, 860)
	b.until("the list", `[...document.querySelectorAll('#sets .setname')].some(a => a.textContent === 'harbour')`)
	b.click(`a[href="#sets/harbour"]`)
	b.until("two revisions", `document.querySelector('#sets .tag')?.textContent === 'revision 2'`)
	b.click(`section[aria-label="Revisions"] button`)
	b.click(`dialog [value=yes]`)
	b.until("the first revision", `document.querySelector('#sets .tag')?.textContent === 'revision 1'`)
	b.click(`#sets .danger`)
	b.click(`dialog [value=no]`)
	p.want(http.StatusOK, "GET", "/peft/v1/sets/harbour", nil)
	b.click(`#sets .danger`)
	b.click(`dialog [value=yes]`)
	b.until("the list without it", `location.hash === '#sets' && document.querySelector('#sets .setname') && ![...document.querySelectorAll('#sets .setname')].some(a => a.textContent === 'harbour')`)
	p.want(http.StatusNotFound, "GET", "/peft/v1/sets/harbour", nil)
	b.clean()
}

func errorsInBrowser(t *testing.T, p *place) {
	p.want(http.StatusCreated, "POST", "/peft/v1/sets", map[string]any{"name": "gone", "data": []any{map[string]any{"name": "tarn.txt", "content": tarn(60)}}})
	b := newBrowser(t, p.s.URL, 1280, 860)
	b.allow = "404"
	b.until("chip", `document.querySelector('[data-pick="gone"]')`)
	b.click(`[data-pick="gone"]`)
	// The request is sent as soon as the set is gone, before the page looks again.
	p.want(http.StatusOK, "DELETE", "/peft/v1/sets/gone", nil)
	b.write("#message", "Are you there?\r")
	b.until("the server's words", `document.querySelector('.turn .error')?.textContent.includes('gone')`)
	b.view("sets/none")
	b.until("the server's words on a set", `document.querySelector('#sets .error')?.textContent.includes('none')`)
	b.clean()
	b.allow = "400"
	b.view("training")
	b.click(".job-form summary")
	bad := filepath.Join(t.TempDir(), "short.txt")
	if err := os.WriteFile(bad, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.drop(".zone", bad)
	b.until("the file", `document.querySelector('.files li:not(.uploading)')`)
	b.set("#job-seq_len", "1000000")
	b.click(".job-form [type=submit]")
	b.until("the server's words on a job", `!document.querySelector('.job-form .error').hidden || document.querySelector('.job .error:not([hidden])')`)
	b.clean()
}

func namesInBrowser(t *testing.T, p *place) {
	b := newBrowser(t, p.s.URL, 1280, 860)
	b.until("chip", `document.querySelector('[data-pick="tarn"]')`)
	b.write("#message", "Hello\r")
	b.until("answer", answered+"1")
	look := func(where string) {
		t.Helper()
		if list, n := b.unnamed(); len(list) > 0 || n < 8 {
			t.Errorf("%s: of %d controls these have no name: %q", where, n, list)
		}
	}
	for _, v := range views {
		b.view(v)
		b.until("content", `document.querySelector('.view:not([hidden]) h1') && !document.querySelector('.view:not([hidden])').innerText.includes('Reading')`)
		look(v)
	}
	b.view("chat")
	b.click(`[aria-label="Answer settings"]`)
	look("settings")
	b.clean()
}

func keyboardInBrowser(t *testing.T, p *place) {
	b := newBrowser(t, p.s.URL, 1280, 860)
	b.until("chip", `document.querySelector('[data-pick="tarn"]')`)
	b.until("focus on the message", `document.activeElement?.id === 'message'`)
	b.tab(`[data-pick="tarn"]`)
	b.press(" ")
	b.until("the set chosen", `document.activeElement?.matches('[data-pick="tarn"][aria-pressed="true"]')`)
	b.tab(`[aria-label="Answer settings"]`)
	b.press(kb.Enter)
	b.until("the drawer", `document.querySelector('dialog.drawer[open]')`)
	b.press(kb.Escape)
	b.until("no drawer", `!document.querySelector('dialog[open]')`)
	b.tab("#message")
	b.press("Hello" + kb.Enter)
	b.until("answer", answered+"1")
	b.tab(`nav a[href="#sets"]`)
	b.press(kb.Enter)
	b.tab(`a[href="#sets/tarn"]`)
	b.press(kb.Enter)
	b.tab("#sets .danger")
	b.press(kb.Enter)
	b.until("the question", `document.querySelector('dialog.ask[open]')`)
	b.press(kb.Escape)
	b.until("no question", `!document.querySelector('dialog[open]')`)
	p.want(http.StatusOK, "GET", "/peft/v1/sets/tarn", nil)
	b.clean()
}

func phoneInBrowser(t *testing.T, p *place) {
	b := newBrowser(t, p.s.URL, 360, 740)
	b.run(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.until("chip", `document.querySelector('[data-pick="tarn"]')`)
	b.click(`[data-pick="tarn"]`)
	b.write("#message", "Hello "+strings.Repeat("long", 40)+"\r")
	b.until("answer", answered+"1")
	for _, v := range views {
		b.view(v)
		b.until("content", `document.querySelector('.view:not([hidden]) h1') && !document.querySelector('.view:not([hidden])').innerText.includes('Reading')`)
		// Whatever is seen is within the width, but for what scrolls by itself.
		wide := eval[[]string](b, `[document.scrollingElement, document.body, ...document.querySelectorAll('.view:not([hidden]), .view:not([hidden]) *, header *')].filter(e => e.checkVisibility?.() && !e.closest('.scroll, .hidden, svg, .uplot') && (e.getBoundingClientRect().right > innerWidth + 1 || (e.matches('html, body, .view, .log') && e.scrollWidth > e.clientWidth + 1))).map(e => e.outerHTML.slice(0, 120))`)
		if len(wide) > 0 {
			t.Errorf("%s is wider than a phone: %q", v, wide)
		}
	}
	b.clean()
}

func darkInBrowser(t *testing.T, p *place) {
	b := newBrowser(t, p.s.URL, 1280, 860)
	// A colour's lightness, whatever way it is written.
	light := func() float64 {
		return eval[float64](b, `(c => { const x = new OffscreenCanvas(1, 1).getContext('2d'); x.fillStyle = c; x.fillRect(0, 0, 1, 1); return x.getImageData(0, 0, 1, 1).data[1] })(getComputedStyle(document.documentElement).backgroundColor)`)
	}
	if v := light(); v < 200 {
		t.Errorf("background %v where light is preferred", v)
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	if v := light(); v > 60 {
		t.Errorf("background %v where dark is preferred", v)
	}
	b.view("usage")
	b.until("a legend", `document.querySelector('#usage .u-marker')`)
	const mark = `getComputedStyle([...document.querySelectorAll('#usage .u-marker')].at(-1)).borderColor`
	was := eval[string](b, mark)
	b.click("#theme")
	if v := light(); v < 200 {
		t.Errorf("background %v after the switch", v)
	}
	if is := eval[string](b, mark); is == was {
		t.Errorf("the mark of a legend stays %s after the switch", is)
	}
	b.run(chromedp.Reload())
	if v := light(); v < 200 {
		t.Errorf("background %v after the switch and a reload", v)
	}
	b.clean()
}
