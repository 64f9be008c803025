package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/cmd/peft/internal/access"
)

// gate is a server on the built-in base whose registry has two untrained sets, open and secret.
type gate struct {
	*httptest.Server
	t testing.TB
	e *peft.Engine
	h *Server
}

func newGate(t testing.TB, o Options) *gate {
	t.Helper()
	g := &gate{t: t}
	g.e, g.h, g.Server = started(t, begun(t, twoSets), o)
	return g
}

func (g *gate) key(name string, r access.Rights) string {
	g.t.Helper()
	_, secret, err := access.Add(context.Background(), g.e.Registry(), name, r)
	if err != nil {
		g.t.Fatal(err)
	}
	return secret
}

// ask sends a request and returns the answer with its body read. Headers are pairs.
// reply is what a test looks at of a response whose body was read.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (g *gate) ask(method, path, key, body string, headers ...string) (reply, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply{a.StatusCode, a.Header}, string(b)
}

func (g *gate) want(status int, method, path, key, body string, headers ...string) string {
	g.t.Helper()
	a, got := g.ask(method, path, key, body, headers...)
	if a.StatusCode != status {
		g.t.Errorf("%s %s %v: %d, want %d: %.300s", method, path, headers, a.StatusCode, status, got)
	}
	return got
}

func completion(model string) string {
	return `{"model":"` + model + `","prompt":"The","max_tokens":2,"temperature":0}`
}

// TestEveryRouteNeedsAKey walks what is registered.
func TestEveryRouteNeedsAKey(t *testing.T) {
	g := newGate(t, Options{})
	root, user, watch := g.key("root", access.Rights{Admin: true}), g.key("user", access.Rights{}), g.key("watch", access.Rights{Metrics: true})
	if len(g.h.routes) < 10 || reflect.ValueOf(g.h.mux).IsNil() {
		t.Fatalf("only %d routes", len(g.h.routes))
	}
	seen := map[scope]int{}
	for pattern, need := range g.h.routes {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			t.Errorf("%q answers to any method", pattern)
			continue
		}
		seen[need]++
		path = strings.NewReplacer("{$}", "", "{file...}", "app.js", "{", "", "}", "", "...", "").Replace(path)
		if need == public {
			if a, body := g.ask(method, path, "", ""); a.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s is public: %d %.200s", pattern, a.StatusCode, body)
			}
			continue
		}
		for _, bad := range []string{"", "nonsense", root + "x", "peft-nobody." + root} {
			if a, body := g.ask(method, path, bad, "{}"); a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.Header.Get("WWW-Authenticate"), "Bearer") || strings.Contains(body, root) {
				t.Errorf("%s with key %.12q: %d %.200s", pattern, bad, a.StatusCode, body)
			}
		}
		for key, may := range map[string]bool{user: need == use, watch: need == monitor} {
			if a, body := g.ask(method, path, key, "{"); (a.StatusCode != http.StatusForbidden) != may {
				t.Errorf("%s with %.10s: %d %.200s", pattern, key, a.StatusCode, body)
			}
		}
	}
	if seen[public] == 0 || seen[use] == 0 || seen[monitor] == 0 || seen[admin] == 0 {
		t.Errorf("scopes %v", seen)
	}
	if err := access.Revoke(context.Background(), g.e.Registry(), "user"); err != nil {
		t.Fatal(err)
	}
	g.want(http.StatusUnauthorized, "GET", "/v1/models", user, "")
	for _, name := range []string{"root", "watch"} {
		if err := access.Revoke(context.Background(), g.e.Registry(), name); err != nil {
			t.Fatal(err)
		}
	}
	g.want(http.StatusUnauthorized, "GET", "/v1/models", "", "") // the last key is gone: nothing opens
}

func TestTenants(t *testing.T) {
	g := newGate(t, Options{})
	some, none, all := g.key("some", access.Rights{Sets: []string{"op*"}}), g.key("none", access.Rights{Sets: []string{"nothing"}}), g.key("all", access.Rights{})
	for _, path := range []string{"/v1/models", "/peft/v1/sets"} {
		if got := g.want(http.StatusOK, "GET", path, some, ""); !strings.Contains(got, `"open"`) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s", path, got)
		}
		if got := g.want(http.StatusOK, "GET", path, all, ""); !strings.Contains(got, `"secret"`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	g.want(http.StatusOK, "POST", "/v1/completions", some, completion("open"))
	g.want(http.StatusOK, "POST", "/v1/completions", some, completion("builtin"))
	g.want(http.StatusOK, "POST", "/v1/completions", all, completion("open+secret"))
	for _, key := range []string{some, none} { // auto must not choose what is not seen
		if got := g.want(http.StatusOK, "POST", "/v1/completions", key, completion("auto")); strings.Contains(got, "secret") {
			t.Errorf("auto: %s", got)
		}
	}
	for pattern, want := range map[string]string{"op*": "open", "nothing": "", "*": "open,secret"} { // none named would mean all
		sets, auto := autoFor(&access.Key{Rights: access.Rights{Sets: []string{pattern}}}, []string{"open", "secret"})
		if strings.Join(sets, ",") != want || auto != (want != "") {
			t.Errorf("auto of a key for %s is between %q, %v", pattern, sets, auto)
		}
	}
	for _, ref := range []string{"secret", "secret@1", "secret@9", "secret*0.5", "open+secret", "secret+open"} {
		absent := strings.ReplaceAll(ref, "secret", "absent")
		hidden, missing := g.want(http.StatusNotFound, "POST", "/v1/completions", some, completion(ref)), g.want(http.StatusNotFound, "POST", "/v1/completions", some, completion(absent))
		real := g.want(http.StatusNotFound, "POST", "/v1/completions", all, completion(absent))
		if strings.ReplaceAll(hidden, "secret", "absent") != missing || missing != real {
			t.Errorf("%s differs from what is not there:\n%s%s%s", ref, hidden, missing, real)
		}
	}
	for _, path := range []string{"/v1/models/NAME", "/peft/v1/sets/NAME", "/peft/v1/sets/NAME/history", "/peft/v1/sets/NAME@1"} {
		hidden := g.want(http.StatusNotFound, "GET", strings.Replace(path, "NAME", "secret", 1), some, "")
		real := g.want(http.StatusNotFound, "GET", strings.Replace(path, "NAME", "absent", 1), all, "")
		if strings.ReplaceAll(hidden, "secret", "absent") != real {
			t.Errorf("%s:\n%s%s", path, hidden, real)
		}
		if a, _ := g.ask("GET", strings.Replace(path, "NAME", "open", 1), some, ""); a.StatusCode != http.StatusOK && !strings.Contains(path, "@") {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// TestTenantsRecords: what was measured on another set's text is in the record for those who see that set, only.
func TestTenantsRecords(t *testing.T) {
	g := newGate(t, Options{})
	data := filepath.Join(t.TempDir(), "data.txt")
	if err := os.WriteFile(data, []byte(tarn(120)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := peft.FinetuneOptions{Data: []string{data}, Steps: 1, BatchTokens: 128, SeqLen: 64, ReportTokens: 64, With: []string{"open"}}
	if _, err := g.e.Finetune(t.Context(), "secret", o); err != nil {
		t.Fatal(err)
	}
	all := g.key("all", access.Rights{})
	for set, other := range map[string]string{"open": "secret", "secret": "open"} {
		own := g.key("own-"+set, access.Rights{Sets: []string{set}})
		for _, path := range []string{"/peft/v1/sets/NAME", "/peft/v1/sets/NAME/history", "/peft/v1/sets/NAME@1", "/peft/v1/sets"} {
			path = strings.Replace(path, "NAME", set, 1)
			whole, less := g.want(http.StatusOK, "GET", path, all, ""), g.want(http.StatusOK, "GET", path, own, "")
			if strings.Contains(less, other) || !strings.Contains(less, `"text":"background"`) {
				t.Errorf("%s of a key that sees %s only:\n%s", path, set, less)
			}
			if path != "/peft/v1/sets/open/history" && !strings.Contains(whole, `"`+other) { // there it is what Show adds
				t.Errorf("%s has nothing of %s to hide: %s", path, other, whole)
			}
		}
	}
	whole := g.want(http.StatusOK, "GET", "/peft/v1/sets/secret", all, "")
	for _, part := range []string{`"with":["open"]`, `"older":[{"text":"open@1"`, `"newer"`} {
		if !strings.Contains(whole, part) && !strings.Contains(g.want(http.StatusOK, "GET", "/peft/v1/sets/open", all, ""), part) {
			t.Errorf("no %s in %s", part, whole)
		}
	}
}

func TestRebinding(t *testing.T) {
	g := newGate(t, Options{Access: AccessOptions{Origins: []string{"https://chat.example"}}})
	host := strings.TrimPrefix(g.URL, "http://")
	get := func(status int, headers ...string) reply {
		t.Helper()
		a, body := g.ask("GET", "/v1/models", "", "", headers...)
		if a.StatusCode != status {
			t.Errorf("%v: %d, want %d: %s", headers, a.StatusCode, status, body)
		}
		return a
	}
	get(http.StatusOK)
	get(http.StatusOK, "Host", "localhost:80")
	get(http.StatusOK, "Host", "[::1]:8080")
	get(http.StatusForbidden, "Host", "evil.example")
	get(http.StatusForbidden, "Host", "127.0.0.1.evil.example:8080")
	get(http.StatusForbidden, "Host", "192.168.1.7:8080")
	get(http.StatusOK, "Origin", "http://"+host)
	get(http.StatusForbidden, "Origin", "https://evil.example")
	get(http.StatusForbidden, "Origin", "null")
	if a := get(http.StatusOK, "Origin", "https://chat.example"); a.Header.Get("Access-Control-Allow-Origin") != "https://chat.example" {
		t.Errorf("headers %v", a.Header)
	}
	if a, _ := g.ask("OPTIONS", "/v1/chat/completions", "", "", "Origin", "https://chat.example", "Access-Control-Request-Method", "POST"); a.StatusCode != http.StatusNoContent || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if a, _ := g.ask("OPTIONS", "/v1/chat/completions", "", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	g.h.guard.o.Insecure = true
	get(http.StatusOK, "Host", "models.lan:8080")
	g.h.guard.o.Required = true
	get(http.StatusUnauthorized)
}

func TestLimits(t *testing.T) {
	g := newGate(t, Options{Access: AccessOptions{Limits: Limits{MaxBody: 2000, MaxTokens: 3}}})
	tokens, asks := g.key("tokens", access.Rights{TokensPerMinute: 4}), g.key("asks", access.Rights{RequestsPerMinute: 2})
	free := g.key("free", access.Rights{})
	g.want(http.StatusRequestEntityTooLarge, "POST", "/v1/completions", free, `{"model":"builtin","prompt":"`+strings.Repeat("x", 2000)+`"}`)
	if got := g.want(http.StatusBadRequest, "POST", "/v1/completions", free, `{"model":"builtin","prompt":"one two three four five six seven"}`); !strings.Contains(got, "at most 3") {
		t.Error(got)
	}
	if got := g.want(http.StatusOK, "POST", "/v1/completions", free, `{"model":"builtin","prompt":"The","max_tokens":50,"temperature":0}`); !strings.Contains(got, `"completion_tokens":3`) {
		t.Error(got)
	}
	g.h.guard.o.MaxBody = 9 << 20
	g.want(http.StatusOK, "POST", "/v1/completions", free, `{"model":"builtin","prompt":"The","other":"`+strings.Repeat("x", 8<<20)+`"}`)
	refused := func(key, path, body string) {
		t.Helper()
		for range 4 {
			a, got := g.ask("POST", path, key, body)
			if a.StatusCode == http.StatusTooManyRequests {
				if a.Header.Get("Retry-After") == "" || a.Header.Get("Retry-After") == "0" || !strings.Contains(got, "rate_limit_error") {
					t.Errorf("%v %s", a.Header, got)
				}
				return
			}
		}
		t.Errorf("%.10s is never refused", key)
	}
	refused(tokens, "/v1/completions", completion("builtin"))
	refused(asks, "/v1/completions", completion("builtin"))
	g.want(http.StatusOK, "POST", "/v1/completions", free, completion("builtin")) // each key for itself
	g.h.guard.o.RequestsPerMinute = 3
	refused(free, "/v1/completions", completion("builtin"))
}
