package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gopeft/peft"
)

// serve starts a real server on the built-in base with two sets, a trained and an untrained one.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	_, _, s := started(t, begun(t, trained), Options{})
	return s
}

// started serves a registry with the built-in base until the test ends.
func started(t testing.TB, registry string, o Options) (*peft.Engine, *Server, *httptest.Server) {
	t.Helper()
	e, err := peft.Open(peft.Options{Registry: registry, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(e, o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Interrupt()
		s.Close()
		if err := errors.Join(h.Close(context.Background()), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e, h, s
}

func post(t *testing.T, s *httptest.Server, path, body string) (int, map[string]any) {
	t.Helper()
	r, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var v map[string]any
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, v
}

func first(v map[string]any, key string) map[string]any {
	return v[key].([]any)[0].(map[string]any)
}

func TestServer(t *testing.T) {
	s := serve(t)
	text := func(model string) string {
		code, v := post(t, s, "/v1/completions", `{"model":"`+model+`","prompt":"The tarn","max_tokens":12,"temperature":0}`)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %v", model, code, v)
		}
		u := v["usage"].(map[string]any)
		if u["total_tokens"].(float64) != u["prompt_tokens"].(float64)+u["completion_tokens"].(float64) || u["prompt_tokens"].(float64) == 0 {
			t.Errorf("usage %v", u)
		}
		return first(v, "choices")["text"].(string)
	}
	t.Run("models", func(t *testing.T) {
		r, err := http.Get(s.URL + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(b), `"id":"builtin"`) || strings.Count(string(b), `"parent":"builtin"`) != 2 || !strings.Contains(string(b), `"id":"auto"`) {
			t.Errorf("%s, %v", b, err)
		}
	})
	t.Run("sets", func(t *testing.T) {
		bare := text("builtin")
		if text("empty") != bare || text("tarn") == bare || text("tarn+empty") != text("tarn") {
			t.Errorf("base %q, empty %q, tarn %q, tarn+empty %q", bare, text("empty"), text("tarn"), text("tarn+empty"))
		}
		if auto := text("auto"); auto != bare { // two words are too little for a gate
			t.Errorf("auto %q, base %q", auto, bare)
		}
	})
	t.Run("stream", func(t *testing.T) {
		got, usage := stream(t, s, "/v1/completions", `{"model":"tarn","prompt":"The tarn","max_tokens":12,"temperature":0,"stream":true,"stream_options":{"include_usage":true}}`)
		if got != text("tarn") || !usage {
			t.Errorf("streamed %q, whole %q, usage %v", got, text("tarn"), usage)
		}
	})
	t.Run("stop", func(t *testing.T) {
		whole := text("tarn")
		stop := strings.TrimSpace(whole)[2:5]
		b, err := json.Marshal(map[string]any{"model": "tarn", "prompt": "The tarn", "max_tokens": 12, "temperature": 0, "stop": []string{stop}})
		if err != nil {
			t.Fatal(err)
		}
		_, v := post(t, s, "/v1/completions", string(b))
		c := first(v, "choices")
		if want, _, _ := strings.Cut(whole, stop); c["text"] != want || c["finish_reason"] != "stop" {
			t.Errorf("stopped at %q: %v, want %q", stop, c, want)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for body, want := range map[string]int{
			`{"model":"nobody","prompt":"x"}`:                   http.StatusNotFound,
			`{"model":"../x","prompt":"x"}`:                     http.StatusNotFound,
			`{"prompt":"x"}`:                                    http.StatusBadRequest,
			`{"model":"builtin"}`:                               http.StatusBadRequest,
			`{"model":"builtin","prompt":"x","max_tokens":0}`:   http.StatusBadRequest,
			`{"model":"builtin","prompt":"x","temperature":-1}`: http.StatusBadRequest,
			`{"model":"builtin","prompt":"x","n":300}`:          http.StatusBadRequest,
			`{"model":"builtin","prompt":"x","stop":[""]}`:      http.StatusBadRequest,
			`{`: http.StatusBadRequest,
		} {
			code, v := post(t, s, "/v1/completions", body)
			if e, ok := v["error"].(map[string]any); code != want || !ok || e["message"] == "" {
				t.Errorf("%s: %d %v, want %d", body, code, v, want)
			}
		}
	})
	t.Run("chat", func(t *testing.T) {
		code, v := post(t, s, "/v1/chat/completions", `{"model":"builtin","messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}],"max_tokens":4,"temperature":0}`)
		if code == http.StatusBadRequest && strings.Contains(v["error"].(map[string]any)["message"].(string), "chat template") {
			return // the built-in base is no chat model
		}
		if m := first(v, "choices")["message"].(map[string]any); code != http.StatusOK || m["role"] != "assistant" {
			t.Errorf("%d %v", code, v)
		}
	})
}

// stream returns the text of a streamed completion and whether usage came.
func stream(t *testing.T, s *httptest.Server, path, body string) (text string, usage bool) {
	t.Helper()
	r, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if ct := r.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	done := false
	for sc := bufio.NewScanner(r.Body); sc.Scan(); {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(data), &v); err != nil || done {
			t.Fatalf("event %q: %v", data, err)
		}
		usage = usage || v["usage"] != nil
		if len(v["choices"].([]any)) > 0 {
			text += first(v, "choices")["text"].(string)
		}
	}
	if !done {
		t.Error("the stream did not end with [DONE]")
	}
	return text, usage
}
