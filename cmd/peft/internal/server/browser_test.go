package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a tab of a headless Chromium on a server's page. What the console or the network complains of fails its test.
type browser struct {
	t       *testing.T
	ctx     context.Context
	mu      sync.Mutex
	trouble []string
	allow   string // what complaints may contain, where a test provokes them
}

// newBrowser opens url, or skips where there is no Chromium; in CI it fails.
func newBrowser(t *testing.T, url string, width, height int) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium in PATH")
		}
		t.Skip("no Chromium in PATH")
	}
	opt := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(width, height))
	if os.Getuid() == 0 {
		opt = append(opt, chromedp.NoSandbox) // which Chromium refuses to root
	}
	alloc, stop := chromedp.NewExecAllocator(t.Context(), opt...)
	t.Cleanup(stop)
	ctx, stopTab := chromedp.NewContext(alloc)
	t.Cleanup(stopTab)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, cdplog.Enable, cdp.Empty{})
	b.run(chromedp.EmulateViewport(int64(width), int64(height)), chromedp.Navigate(url))
	b.until("the server's name", `document.getElementById('base').textContent !== '…'`)
	b.set("#set-max_tokens", "40")
	return b
}

func (b *browser) event(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.complain("exception: " + fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.Exception.Description))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.complain(fmt.Sprintf("console: %s", e.Args[0].Value))
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			b.complain("log: " + e.Entry.Text + " " + e.Entry.URL)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled {
			b.complain("request failed: " + e.ErrorText)
		}
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, "http://127.0.0.1:") && !strings.HasPrefix(u, "blob:") {
			b.complain("request to elsewhere: " + u)
		}
	}
}

func (b *browser) complain(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.allow == "" || !strings.Contains(s, b.allow) {
		b.trouble = append(b.trouble, s)
	}
}

// clean fails the test with what was complained of so far.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.trouble {
		b.t.Error(s)
	}
	b.trouble = nil
}

// run runs actions, each for at most a minute.
func (b *browser) run(a ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, a...); err != nil {
		b.clean()
		b.t.Fatal(err)
	}
}

// call runs a command of the protocol.
func call[P, R any](b *browser, c cdp.Command[P, R], p P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, c, p)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// js runs a statement.
func (b *browser) js(js string) {
	b.t.Helper()
	eval[bool](b, `(() => { `+js+`; return true })()`)
}

// eval returns an expression's value.
func eval[T any](b *browser, js string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](js))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// until waits for an expression to hold.
func (b *browser) until(what, js string) {
	b.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !eval[bool](b, `!!(`+js+`)`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.clean()
			b.t.Fatalf("no %s; the page says %.2000q", what, eval[string](b, `document.body.innerText`))
		}
	}
}

func (b *browser) view(name string) {
	b.t.Helper()
	b.js(`location.hash = '#` + name + `'`)
	id, _, _ := strings.Cut(name, "/")
	b.until("view "+name, `!document.getElementById('`+id+`').hidden`)
}

func (b *browser) click(css string) {
	b.t.Helper()
	b.run(chromedp.ScrollIntoView(chromedp.CSS(css)), chromedp.Click(chromedp.CSS(css)))
}

// write types text into a field; "\r" is the Enter key.
func (b *browser) write(css, text string) {
	b.t.Helper()
	b.run(chromedp.SendKeys(chromedp.CSS(css), text))
}

// set puts a value into a field.
func (b *browser) set(css, value string) {
	b.t.Helper()
	b.js(`const e = document.querySelector(` + quote(css) + `); e.value = ` + quote(value) + `; e.dispatchEvent(new Event('change'))`)
}

// press types keys as a keyboard does.
func (b *browser) press(keys string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(keys))
}

// tab moves the focus with the Tab key until it is on what css selects.
func (b *browser) tab(css string) {
	b.t.Helper()
	for range 60 {
		b.press(kb.Tab)
		if eval[bool](b, `!!document.activeElement?.matches(`+quote(css)+`)`) {
			return
		}
	}
	b.t.Fatalf("the Tab key does not come to %s", css)
}

// drop drops a file where css selects.
func (b *browser) drop(css, path string) {
	b.t.Helper()
	at := eval[[2]float64](b, `(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector(`+quote(css)+`).getBoundingClientRect())`)
	data := &input.DragData{Items: []*input.DragDataItem{}, Files: []string{path}, DragOperationsMask: 1}
	for _, kind := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
		call(b, input.DispatchDragEvent, input.DispatchDragEventParams{Type: kind, X: at[0], Y: at[1], Data: data})
	}
}

// unnamed returns the controls that have no name for those who cannot see them.
func (b *browser) unnamed() (list []string, controls int) {
	b.t.Helper()
	for _, n := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		switch role := strings.Trim(string(n.Role.Value), `"`); role {
		case "button", "link", "textbox", "checkbox", "spinbutton", "searchbox", "combobox", "progressbar", "image", "dialog", "DisclosureTriangle":
			controls++
			if n.Name == nil || strings.Trim(string(n.Name.Value), `" `) == "" {
				list = append(list, role)
			}
		}
	}
	return list, controls
}

func quote(s string) string {
	b, _ := json.Marshal(s) // of a string it cannot fail
	return string(b)
}
