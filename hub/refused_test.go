package hub

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/hub/hubtest"
)

func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		header   map[string]string
		times    int // that the hub answers so; 0 for always
		token    string
		is       error
		words    []string
		requests int
	}{
		"401":             {status: 401, is: ErrDenied, words: []string{"HF_TOKEN", "private or gated"}, requests: 1},
		"401, token":      {status: 401, token: "t", is: ErrDenied, words: []string{"HF_TOKEN", "not valid"}, requests: 1},
		"403":             {status: 403, header: map[string]string{"X-Error-Message": "access is restricted"}, is: ErrDenied, words: []string{"terms are accepted", `"access is restricted"`}, requests: 1},
		"404":             {status: 404, is: ErrNotFound, words: []string{"acme/Tiny-1", "look at the name"}, requests: 1},
		"404, revision":   {status: 404, header: map[string]string{"X-Error-Code": "RevisionNotFound"}, is: ErrNotFound, words: []string{"no such branch"}, requests: 1},
		"400":             {status: 400, is: ErrServer, requests: 1},
		"500":             {status: 500, is: ErrServer, words: []string{"500", "8 attempts"}, requests: 8},
		"503 twice":       {status: 503, times: 2, requests: 2},
		"429 for a while": {status: 429, header: map[string]string{"Retry-After": "0"}, times: 3, requests: 3},
		"429 for long":    {status: 429, header: map[string]string{"Retry-After": "3600"}, is: ErrServer, words: []string{"1h0m0s", "HF_TOKEN"}, requests: 1},
		"429 always":      {status: 429, header: map[string]string{"RateLimit": `"api";r=0;t=0`}, is: ErrServer, words: []string{"429", "8 attempts"}, requests: 8},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t, model())
			x.token = c.token
			n := 0
			x.hub.API = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if c.times > 0 && n >= c.times {
						next.ServeHTTP(w, r)
						return
					}
					n++
					for k, v := range c.header {
						w.Header()[k] = []string{v}
					}
					w.WriteHeader(c.status)
				})
			}
			if c.is == nil {
				x.good(needed)
			} else {
				x.bad(c.is, c.words)
			}
			if n != c.requests {
				t.Errorf("%d requests were refused, want %d", n, c.requests)
			}
		})
	}
}

// TestRefusedElsewhere asks the hub anew when the host with the bytes refuses: addresses there are signed and expire. The
// address is no one else's to see.
func TestRefusedElsewhere(t *testing.T) {
	x := newFixture(t, model())
	n := 0
	x.hub.CDN = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch n++; n {
			case 1:
				w.WriteHeader(http.StatusForbidden)
			case 2:
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_, err = conn.Write([]byte("not HTTP\r\n\r\n"))
					err = errors.Join(err, conn.Close())
				}
				if err != nil {
					t.Error(err)
				}
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
	x.good(needed)
	if said := strings.Join(x.warns, "\n"); len(x.warns) != 2 || !strings.Contains(said, "403") || strings.Contains(said, "Signature") || strings.Contains(said, "HF_TOKEN") {
		t.Errorf("%q", x.warns)
	}
}

// TestMoved follows a repository to its new name, for headers too.
func TestMoved(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		x := newFixture(t, model())
		x.hub.Bare = status != http.StatusFound
		x.hub.API = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, repo) {
					http.Redirect(w, r, strings.Replace(r.URL.RequestURI(), repo, "new/name", 1), status)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		x.hub.Repo = "new/name"
		x.good(needed)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		header, value string
		want          time.Duration
		ok            bool
	}{
		{"Retry-After", "7", 7 * time.Second, true},
		{"Retry-After", "Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second, true},
		{"Retry-After", "Fri, 02 Jan 2026 03:04:00 GMT", 0, true},
		{"Retry-After", "-7", 0, false},
		{"Retry-After", "soon", 0, false},
		{"RateLimit", `"resolvers";r=0;t=55`, 55 * time.Second, true},
		{"RateLimit", `"resolvers";r=10;t=55`, 0, false},
		{"X", "7", 0, false},
	} {
		h := http.Header{}
		h[http.CanonicalHeaderKey(c.header)] = []string{c.value}
		if c.header == "RateLimit" {
			h = http.Header{}
			h.Set(c.header, c.value)
		}
		if got, ok := retryAfter(h, now); got != c.want || ok != c.ok {
			t.Errorf("%s: %s: %v %v, want %v %v", c.header, c.value, got, ok, c.want, c.ok)
		}
	}
}

// TestHostileNames lists files that would lead out of the cache. They are refused when they are asked for, and otherwise stand
// in nobody's way.
func TestHostileNames(t *testing.T) {
	for _, path := range []string{
		"../../../evil.gguf", "a/../../evil.gguf", "/etc/evil.gguf", `..\evil.gguf`, "C:evil.gguf", "", ".", "a\x00.gguf", "\x1b[2J.gguf", "x.gguf.partial", "x.gguf.etag",
	} {
		t.Run(path, func(t *testing.T) {
			x := newFixture(t, model())
			x.hub.Entries = []any{entry(path)}
			x.bad(ErrName, []string{strconv.Quote(path)}, strings.Repeat("*/", strings.Count(path, "/"))+"*")
			x.good(needed)
		})
	}
}

func entry(path string) any {
	return map[string]any{"type": "file", "path": path, "size": 1, "oid": strings.Repeat("a", 40)}
}

// TestImpossible lists files that cannot be.
func TestImpossible(t *testing.T) {
	for name, c := range map[string]struct {
		entry any
		is    error
	}{
		"twice":          {entry("config.json"), ErrCorrupt},
		"negative":       {map[string]any{"type": "file", "path": "x.gguf", "size": -1, "oid": strings.Repeat("a", 40)}, ErrCorrupt},
		"checksum":       {map[string]any{"type": "file", "path": "x.gguf", "size": 1, "lfs": map[string]any{"oid": "../../x", "size": 1}}, ErrCorrupt},
		"size as a text": {map[string]any{"type": "file", "path": "x.gguf", "size": "1"}, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t, model())
			x.hub.Entries = []any{c.entry}
			x.bad(c.is, nil)
			x.bad(c.is, nil, "*.gguf")
		})
	}
}

// TestLinks does not let someone's link in the cache lead out of it.
func TestLinks(t *testing.T) {
	x := newFixture(t, model())
	outside := t.TempDir()
	dir := filepath.Join(x.cache.dir, repo)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(outside, filepath.Join(dir, hubtest.Commit))); err != nil {
		t.Fatal(err)
	}
	if _, err := x.pull(); err == nil {
		t.Error("a link out of the cache was followed")
	}
	if e, err := os.ReadDir(outside); len(e) != 0 || err != nil {
		t.Errorf("%v %v", e, err)
	}
}

// TestPagesElsewhere does not follow a list of files to another host.
func TestPagesElsewhere(t *testing.T) {
	x := newFixture(t, model())
	x.token = "hf_secret"
	x.hub.API = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/tree/") {
				w.Header().Set("Link", fmt.Sprintf(`<http://%s/x>; rel="next"`, x.hub.CDNHost()))
			}
			next.ServeHTTP(w, r)
		})
	}
	x.bad(ErrCorrupt, []string{x.hub.CDNHost()})
	for _, r := range x.hub.Requests() {
		if r.Host == x.hub.CDNHost() {
			t.Errorf("asked %s", r.Host)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{
		"", "huggingface.co", "ftp://x", "http://", "http://x:y", "http://x?y", "http://x#y",
		"ftp://u:secret@x", "http://u:secret@x:y", "http://u:secret%zz@x", "http://u:secret/@x", "http://u:1/secret@x", "http://u#secret@x", "http://u?secret@x",
	} {
		if _, err := NewClient(bad, ""); !errors.Is(err, ErrName) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := NewClient("http://u:secret@x", "hf_secret"); !errors.Is(err, ErrName) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	t.Setenv("HF_ENDPOINT", "")
	t.Setenv("HF_TOKEN", "")
	if c, err := FromEnvironment(); err != nil || c.endpoint.String() != DefaultEndpoint || c.token != "" {
		t.Errorf("%+v %v", c, err)
	}
	t.Setenv("HF_ENDPOINT", "http://mirror.example/hub/")
	t.Setenv("HF_TOKEN", " t\n")
	c, err := FromEnvironment()
	if err != nil || c.token != "t" {
		t.Fatalf("%+v %v", c, err)
	}
	if got := c.fileURL("a/b", "c", "d e/f#g"); got != "http://mirror.example/hub/a/b/resolve/c/d%20e/f%23g" {
		t.Error(got)
	}
	if got := c.api("a/b", "revision", "refs/pr/1").String(); got != "http://mirror.example/hub/api/models/a/b/revision/refs%2Fpr%2F1" {
		t.Error(got)
	}
}

// TestPassword sends the endpoint's user and password to the hub and to no one else, messages and manifests included.
func TestPassword(t *testing.T) {
	x := newFixture(t, model())
	x.hub.Bare = true // asks for headers too
	c, err := NewClient(strings.Replace(x.hub.URL(), "://", "://user:se%2Fcret@", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := x.cache.Pull(t.Context(), c, Ref{repo, "main"}, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x.same(s, needed)
	if s.Endpoint != x.hub.URL() {
		t.Errorf("the manifest has %s", s.Endpoint)
	}
	for _, r := range x.hub.Requests() {
		user, password, ok := r.BasicAuth()
		if atHub := r.Host != x.hub.CDNHost(); ok != atHub || atHub && (user != "user" || password != "se/cret") {
			t.Errorf("%s%s got %q %q", r.Host, r.URL, user, password)
		}
	}
	if _, err := c.Commit(t.Context(), Ref{repo, "gone"}); !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "cret") {
		t.Error(err)
	}
}

// TestRedirectToHTTP is not followed from https.
func TestRedirectToHTTP(t *testing.T) {
	from, _ := http.NewRequest(http.MethodGet, "https://a/x", http.NoBody)
	to, _ := http.NewRequest(http.MethodGet, "http://a/x", http.NoBody)
	if err := checkRedirect(to, []*http.Request{from}); !errors.Is(err, errRedirect) || !hopeless(err) {
		t.Error(err)
	}
	if err := checkRedirect(from, []*http.Request{to}); err != nil {
		t.Error(err)
	}
}
