package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopeft/peft/cmd/peft/internal/access"
)

// TestMetrics asks for what was counted.
func TestMetrics(t *testing.T) {
	var spans atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil && r.URL.Path == "/v1/traces" && bytes.Contains(b, []byte("POST /v1/completions")) {
			spans.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tracer, flush, err := Traces(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g := newGate(t, Options{Log: slog.New(slog.NewJSONHandler(&log, nil)), Tracer: tracer})
	key := g.key("alice", access.Rights{})
	a, _ := g.ask("POST", "/v1/completions", key, `{"model":"open","prompt":"Zanzibar","max_tokens":3,"temperature":0}`, "X-Request-Id", "mine-1")
	if a.StatusCode != http.StatusOK || a.Header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if a, _ := g.ask("GET", "/v1/models/absent", key, "", "X-Request-Id", "two words"); len(a.Header.Get("X-Request-Id")) < 20 || strings.Contains(a.Header.Get("X-Request-Id"), " ") {
		t.Errorf("request id %q", a.Header.Get("X-Request-Id"))
	}
	got := g.want(http.StatusOK, "GET", "/metrics", g.key("watch", access.Rights{Metrics: true}), "")
	for _, want := range []string{
		`peft_http_requests_total{code="200",route="POST /v1/completions"} 1`, `peft_http_requests_total{code="404",route="GET /v1/models/{id}"} 1`,
		"vllm:generation_tokens_total 3", "vllm:time_to_first_token_seconds_count 1", "vllm:num_requests_running 0", "vllm:num_requests_waiting 0",
		"vllm:lora_requests_info{", "peft_sets 2", `peft_info{base="builtin"`, `vllm:request_success_total{finished_reason="length"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	line, _, _ := strings.Cut(log.String(), "\n")
	var v map[string]any
	if err := json.Unmarshal([]byte(line), &v); err != nil || v["id"] != "mine-1" || v["key"] != "alice" || v["status"] != 200.0 || v["written_tokens"] != 3.0 || v["trace"] == nil {
		t.Errorf("%v: %s", err, line)
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d lines for 3 requests:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "Zanzibar") || strings.Contains(log.String(), key) {
		t.Errorf("the log has a prompt or a key:\n%s", log.String())
	}
	if err := flush(context.Background()); err != nil || spans.Load() == 0 {
		t.Errorf("%d spans came: %v", spans.Load(), err)
	}
}

func TestDrain(t *testing.T) {
	g := newGate(t, Options{})
	g.want(http.StatusOK, "GET", "/readyz", "", "")
	began, release := make(chan bool), make(chan bool)
	g.h.handle("GET /test/slow", use, func(w http.ResponseWriter, _ *http.Request) {
		began <- true
		<-release
		w.WriteHeader(http.StatusOK)
	})
	slow := make(chan int)
	go func() {
		r, err := http.Get(g.URL + "/test/slow")
		if err != nil {
			slow <- 0
			return
		}
		r.Body.Close()
		slow <- r.StatusCode
	}()
	<-began
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := g.h.Drain(short); err == nil {
		t.Error("drained while a request runs")
	}
	g.want(http.StatusOK, "GET", "/healthz", "", "")
	for _, path := range []string{"/readyz", "/v1/models"} {
		if a, body := g.ask("GET", path, "", ""); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v %s", path, a.StatusCode, a.Header, body)
		}
	}
	close(release)
	if code := <-slow; code != http.StatusOK {
		t.Errorf("the running request: %d", code)
	}
}
