package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft"
)

// place is a server on the built-in base that can be ended and started again on the same registry.
type place struct {
	t    testing.TB
	dir  string
	base string // other than the built-in one
	e    *peft.Engine
	h    *Server
	s    *httptest.Server
}

func newPlace(t testing.TB) *place {
	t.Helper()
	return newPlaceOn(t, begun(t, routed))
}

// newPlaceOn is newPlace on that registry.
func newPlaceOn(t testing.TB, dir string) *place {
	t.Helper()
	p := &place{t: t, dir: dir}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *place) start() {
	p.t.Helper()
	var err error
	if p.e, err = peft.Open(peft.Options{Registry: p.dir, Base: p.base, Threads: 1}); err != nil {
		p.t.Fatal(err)
	}
	if p.h, err = New(p.e, Options{MaxUpload: 1 << 20}); err != nil {
		p.t.Fatal(err)
	}
	p.s = httptest.NewServer(p.h)
}

func (p *place) stop() {
	p.t.Helper()
	if p.e == nil {
		return
	}
	p.h.Interrupt()
	p.s.Close()
	if err := p.h.Close(context.Background()); err != nil {
		p.t.Error(err)
	}
	if err := p.e.Close(); err != nil {
		p.t.Error(err)
	}
	p.e = nil
}

// call sends a request, with v as JSON unless it is a reader, and returns the answer's status and object.
func (p *place) call(method, path string, v any) (int, map[string]any) {
	p.t.Helper()
	body, ok := v.(io.Reader)
	if !ok && v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(context.Background(), method, p.s.URL+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	var got map[string]any
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r.StatusCode, got
}

// want is call that must have that status.
func (p *place) want(status int, method, path string, v any) map[string]any {
	p.t.Helper()
	code, got := p.call(method, path, v)
	if code != status {
		p.t.Fatalf("%s %s: %d %v, want %d", method, path, code, got, status)
	}
	return got
}

// events reads a job's stream up to its end, or until until says so, and returns what came by type.
func (p *place) events(id string, until func(kind string, v map[string]any) bool) map[string][]map[string]any {
	p.t.Helper()
	r, err := http.Get(p.s.URL + "/peft/v1/jobs/" + id + "/events")
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	got, kind := map[string][]map[string]any{}, ""
	for sc := bufio.NewScanner(r.Body); sc.Scan(); {
		if k, ok := strings.CutPrefix(sc.Text(), "event: "); ok {
			kind = k
		}
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			var v map[string]any
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				p.t.Fatal(err)
			}
			got[kind] = append(got[kind], v)
			if until != nil && until(kind, v) {
				return got
			}
		}
	}
	return got
}

func tarn(lines int) string {
	return strings.Repeat("The tarn lies still. Nobody rows there in winter.\n", lines)
}

// quick are options of a job of seconds.
func quick(steps int) map[string]any {
	return map[string]any{"steps": steps, "batch_tokens": 128, "seq_len": 64, "checkpoint_every": 2, "report_tokens": -1, "eval_every": 4}
}

func steps(events []map[string]any) (n int, first, last float64) {
	for _, e := range events {
		if s, ok := e["step"].(map[string]any); ok {
			if n++; first == 0 {
				first = e["done"].(float64)
			}
			last = e["done"].(float64)
			if s["loss"].(float64) <= 0 || s["tokens_per_second"].(float64) <= 0 {
				return -1, 0, 0
			}
		}
	}
	return n, first, last
}

func TestJob(t *testing.T) {
	p := newPlace(t)
	p.want(http.StatusCreated, "POST", "/peft/v1/files?name=tarn.txt", strings.NewReader(tarn(60)))
	j := p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": "tarn", "data": []any{"tarn.txt"}, "options": quick(8)})
	if j["state"] != "queued" {
		t.Errorf("a new job: %v", j)
	}
	if code, v := p.call("DELETE", "/peft/v1/files/tarn.txt", nil); code != http.StatusConflict {
		t.Errorf("deleting a job's file: %d %v", code, v)
	}
	got := p.events(j["id"].(string), nil)
	if n, first, last := steps(got["progress"]); n != 8 || first != 1 || last != 8 {
		t.Errorf("%d steps, %v to %v, want 1 to 8: %v", n, first, last, got["progress"])
	}
	held := false
	for _, e := range got["progress"] {
		s, ok := e["step"].(map[string]any)
		held = held || ok && s["held_out"] != nil
	}
	if !held {
		t.Error("no step tells of the held-out text")
	}
	if end := got["end"]; len(end) != 1 || end[0]["state"] != "done" || end[0]["revision"] != 1.0 || end[0]["result"] == nil {
		t.Fatalf("ended with %v", end)
	}
	if s := p.want(http.StatusOK, "GET", "/peft/v1/sets/tarn@1", nil); s["training"].(map[string]any)["steps"] != 8.0 {
		t.Errorf("the set: %v", s)
	}
	if again := p.events(j["id"].(string), nil); len(again["progress"]) != len(got["progress"]) {
		t.Errorf("%d events afterwards, %d while it ran", len(again["progress"]), len(got["progress"]))
	}
	if l := p.want(http.StatusOK, "GET", "/peft/v1/jobs", nil)["jobs"].([]any); len(l) != 1 {
		t.Errorf("jobs: %v", l)
	}
	p.want(http.StatusConflict, "POST", "/peft/v1/jobs/"+j["id"].(string)+"/cancel", nil)
	p.want(http.StatusOK, "DELETE", "/peft/v1/jobs/"+j["id"].(string), nil)
	p.want(http.StatusNotFound, "GET", "/peft/v1/jobs/"+j["id"].(string), nil)
	p.want(http.StatusOK, "DELETE", "/peft/v1/files/tarn.txt", nil)
}

// TestJobsQueue: one runs, the others wait, and each can be cancelled.
func TestJobsQueue(t *testing.T) {
	p := newPlace(t)
	data := []any{map[string]any{"name": "t.txt", "content": tarn(60)}}
	add := func(name string, n int) string {
		return p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": name, "data": data, "options": quick(n)})["id"].(string)
	}
	long, waits, last := add("long", 100000), add("waits", 2), add("last", 2)
	p.events(long, func(kind string, v map[string]any) bool { return kind == "progress" && v["step"] != nil })
	if s := p.want(http.StatusOK, "GET", "/peft/v1/jobs/"+last, nil)["state"]; s != "queued" {
		t.Errorf("the last of three is %v", s)
	}
	p.want(http.StatusConflict, "DELETE", "/peft/v1/jobs/"+waits, nil)
	p.want(http.StatusAccepted, "POST", "/peft/v1/jobs/"+waits+"/cancel", nil)
	if code, v := p.call("DELETE", "/peft/v1/sets/long", nil); code != http.StatusConflict {
		t.Errorf("removing a set in training: %d %v", code, v)
	}
	p.want(http.StatusAccepted, "POST", "/peft/v1/jobs/"+long+"/cancel", nil)
	for id, want := range map[string]string{long: "cancelled", waits: "cancelled", last: "done"} {
		if end := p.events(id, nil)["end"]; len(end) != 1 || end[0]["state"] != want {
			t.Errorf("job %s ended with %v, want %s", id, end, want)
		}
	}
	sets := p.want(http.StatusOK, "GET", "/peft/v1/sets", nil)["sets"].([]any)
	if len(sets) != 1 || sets[0].(map[string]any)["name"] != "last" {
		t.Errorf("sets: %v", sets)
	}
}

// TestJobGoesOn: a server that ends interrupts the job, and the next goes on from the checkpoint.
func TestJobGoesOn(t *testing.T) {
	p := newPlace(t)
	o := quick(20)
	id := p.want(http.StatusCreated, "POST", "/peft/v1/jobs", map[string]any{"name": "tarn", "data": []any{map[string]any{"name": "t.txt", "content": tarn(60)}}, "options": o})["id"].(string)
	p.events(id, func(kind string, v map[string]any) bool { return v["step"] != nil && v["done"].(float64) >= 5 })
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	p.start()
	got := p.events(id, nil)
	if end := got["end"]; len(end) != 1 || end[0]["state"] != "done" || end[0]["resumed"] != 1.0 {
		t.Fatalf("ended with %v", end)
	}
	// Every step was made once: the second server began after the first one's checkpoint.
	if n, first, last := steps(got["progress"]); n != 20 || first != 1 || last != 20 {
		t.Errorf("%d steps, %v to %v, want each of 20 once", n, first, last)
	}
}

func TestUploads(t *testing.T) {
	p := newPlace(t)
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	for _, name := range []string{"a.txt", "b.jsonl"} {
		w, err := m.CreateFormFile("file", name)
		if err == nil {
			_, err = io.WriteString(w, "some text")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(p.s.URL+"/peft/v1/files", m.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	files := p.want(http.StatusOK, "GET", "/peft/v1/files", nil)["files"].([]any)
	if r.StatusCode != http.StatusCreated || len(files) != 2 || files[0].(map[string]any)["bytes"] != 9.0 {
		t.Errorf("%s, %v", r.Status, files)
	}
	for name, want := range map[string]int{
		"":             http.StatusBadRequest,
		"..":           http.StatusBadRequest,
		"../x":         http.StatusBadRequest,
		".part-x":      http.StatusBadRequest,
		"a/b":          http.StatusBadRequest,
		"a%00b":        http.StatusBadRequest,
		"x%0A":         http.StatusBadRequest,
		"a.txt":        http.StatusConflict,
		"ü%20(1).txt":  http.StatusBadRequest,
		"größe%20.txt": http.StatusCreated,
	} {
		if code, v := p.call("POST", "/peft/v1/files?name="+name, strings.NewReader("x")); code != want {
			t.Errorf("%q: %d %v, want %d", name, code, v, want)
		}
	}
	p.want(http.StatusRequestEntityTooLarge, "POST", "/peft/v1/files?name=big", strings.NewReader(strings.Repeat("x", 1<<20+1)))
	p.want(http.StatusBadRequest, "POST", "/peft/v1/files?name=none", strings.NewReader(""))
	p.want(http.StatusNotFound, "DELETE", "/peft/v1/files/big", nil)
	p.want(http.StatusBadRequest, "DELETE", "/peft/v1/files/..%2Fjobs", nil)
	if n := len(p.want(http.StatusOK, "GET", "/peft/v1/files", nil)["files"].([]any)); n != 3 {
		t.Errorf("%d files", n)
	}
}

// TestJobErrors: what a job cannot be is said when it is asked for.
func TestJobErrors(t *testing.T) {
	p := newPlace(t)
	text := map[string]any{"name": "t.txt", "content": tarn(60)}
	for _, c := range []struct {
		status int
		say    string
		body   map[string]any
	}{
		{400, "no data", map[string]any{"name": "x"}},
		{404, "no file", map[string]any{"name": "x", "data": []any{"none.txt"}}},
		{400, "directory", map[string]any{"name": "x", "data": []any{"../../etc/passwd"}}},
		{400, "invalid name", map[string]any{"name": "../x", "data": []any{text}}},
		{400, "steps", map[string]any{"name": "x", "data": []any{text}, "options": map[string]any{"steps": -1}}},
		{400, "unknown field", map[string]any{"name": "x", "data": []any{text}, "options": map[string]any{"step": 1}}},
		{404, "not found", map[string]any{"name": "x", "data": []any{text}, "options": map[string]any{"with": []string{"nobody"}}}},
		{404, "no checkpoint", map[string]any{"name": "x", "data": []any{text}, "options": map[string]any{"resume": true}}},
		{409, "already", map[string]any{"name": "x", "data": []any{map[string]any{"name": "t.txt", "content": "other"}}}},
	} {
		code, v := p.call("POST", "/peft/v1/jobs", c.body)
		if msg, _ := v["error"].(map[string]any)["message"].(string); code != c.status || !strings.Contains(msg, c.say) {
			t.Errorf("%d %.200v, want %d and %q", code, v, c.status, c.say)
		}
	}
	if l := p.want(http.StatusOK, "GET", "/peft/v1/jobs", nil)["jobs"].([]any); len(l) != 0 {
		t.Errorf("jobs: %v", l)
	}
}
