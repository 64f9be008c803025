package server

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestChangesUnderLoad: while requests are answered, sets are added, trained, pruned, rolled back and removed; no request
// fails, those for a set that nobody changes get the same text all the time, and a new set answers as soon as it is there.
func TestChangesUnderLoad(t *testing.T) {
	p := newPlaceOn(t, begun(t, trained))
	data := []any{map[string]any{"name": "t.txt", "content": tarn(60)}}
	job := func(name string, n int) float64 {
		o := quick(n)
		o["learning_rate"] = 3e-2
		id := p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": name, "data": data, "options": o})["id"].(string)
		end := p.events(id, nil)["end"]
		if len(end) != 1 || end[0]["state"] != "done" {
			t.Fatalf("job %s: %v", name, end)
		}
		return end[0]["revision"].(float64)
	}
	ask := func(model string) (int, any) {
		code, v := p.call("POST", "/v1/completions", map[string]any{"model": model, "prompt": "The tarn", "max_tokens": 8, "temperature": 0})
		if code != http.StatusOK {
			return code, v
		}
		return code, first(v, "choices")["text"]
	}
	_, base := ask("builtin")
	_, still := ask("tarn")
	if base == still {
		t.Fatalf("the set changes nothing: %q", base)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var answered atomic.Int64
	for model, want := range map[string]any{"builtin": base, "tarn": still} {
		load.Go(func() {
			for ctx.Err() == nil {
				if code, text := ask(model); code != http.StatusOK || text != want {
					t.Errorf("%s: %d %q, want %q", model, code, text, want)
					return
				}
				answered.Add(1)
				time.Sleep(30 * time.Millisecond) // as clients do: beside answers without end a training gets a tenth of the time
			}
		})
	}
	var slowest time.Duration
	const name = "new"
	for range 2 { // the second is another set, although it is named and numbered like the first
		p.want(http.StatusCreated, "POST", "/peft/v1/sets", map[string]any{"name": name, "data": data})
		began := time.Now()
		if code, text := ask(name); code != http.StatusOK || text != base {
			t.Errorf("an untrained set: %d %q, want the base's %q", code, text, base)
		}
		slowest = max(slowest, time.Since(began))
		if rev := job(name, 3); rev != 2 {
			t.Errorf("trained to revision %v", rev)
		}
		p.want(http.StatusOK, "POST", "/peft/v1/sets/"+name+"/prune", map[string]any{"keep": 0.5})
		p.want(http.StatusOK, "POST", "/peft/v1/sets/"+name+"/rollback", map[string]any{"revision": 1})
		if code, text := ask(name); code != http.StatusOK || text != base {
			t.Errorf("rolled back: %d %q, want the base's %q", code, text, base)
		}
		p.want(http.StatusOK, "DELETE", "/peft/v1/sets/"+name, nil)
		if code, _ := ask(name); code != http.StatusNotFound {
			t.Errorf("a removed set: %d", code)
		}
	}
	stop()
	load.Wait()
	t.Logf("%d requests answered; a new set answered %v after its commit, generation included", answered.Load(), slowest)
	if slowest > 10*time.Second {
		t.Errorf("a new set answered after %v", slowest)
	}
}
