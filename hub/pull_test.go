package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopeft/peft/hub/hubtest"
)

const repo = "acme/Tiny-1"

// noise are n bytes that no other seed has.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

// model is a repository as hubs have them: the needed files among many others.
func model() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": []byte("{}"), "tokenizer_config.json": []byte("{ }"),
		"generation_config.json": []byte("{}"), "chat_template.jinja": []byte("x"), "special_tokens_map.json": {},
		"model.safetensors": noise(1, 3<<20), "pytorch_model.bin": noise(2, 100), "consolidated.safetensors": noise(3, 100),
		"onnx/model.onnx": noise(4, 100), "README.md": []byte("# read me"), "tf_model.h5": noise(5, 100), "original/model.safetensors": noise(6, 10),
	}
}

var needed = []string{"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}

type fixture struct {
	t     *testing.T
	hub   *hubtest.Hub
	cache *Cache
	token string
	warns []string
}

func newFixture(t *testing.T, files map[string][]byte) *fixture {
	return &fixture{t: t, hub: hubtest.New(t, repo, files), cache: OpenCache(filepath.Join(t.TempDir(), "hub"))}
}

func (x *fixture) client() *Client {
	x.t.Helper()
	c, err := NewClient(x.hub.URL()+"/", x.token)
	if err != nil {
		x.t.Fatal(err)
	}
	c.pause = time.Millisecond
	return c
}

func (x *fixture) pull(globs ...string) (*Snapshot, error) {
	x.t.Helper()
	x.warns = nil
	return x.cache.Pull(x.t.Context(), x.client(), Ref{repo, "main"}, PullOptions{Files: globs, Warn: func(s string) { x.warns = append(x.warns, s) }})
}

// good pulls and compares every file with the hub's.
func (x *fixture) good(want []string, globs ...string) *Snapshot {
	x.t.Helper()
	s, err := x.pull(globs...)
	if err != nil {
		x.t.Fatal(err)
	}
	x.same(s, want)
	return s
}

func (x *fixture) same(s *Snapshot, want []string) {
	x.t.Helper()
	var got, there []string
	for _, f := range s.Files {
		got = append(got, f.Path)
	}
	err := filepath.WalkDir(s.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.Dir(), p)
		there = append(there, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
	slices.Sort(there)
	if !slices.Equal(got, want) || !slices.Equal(there, want) {
		x.t.Errorf("the manifest has %q and the directory %q, want %q", got, there, want)
	}
	for _, name := range want {
		b, err := os.ReadFile(filepath.Join(s.Dir(), name))
		if err != nil || !bytes.Equal(b, x.hub.Files[name]) {
			x.t.Errorf("%s: %d bytes, want the hub's %d: %v", name, len(b), len(x.hub.Files[name]), err)
		}
	}
}

// bad pulls and wants an error of a kind that says all the words, and no manifest.
func (x *fixture) bad(is error, words []string, globs ...string) {
	x.t.Helper()
	_, err := x.pull(globs...)
	if !errors.Is(err, is) {
		x.t.Fatalf("%v, want %v", err, is)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			x.t.Errorf("%q, want %q in it", err, w)
		}
	}
	if all, err := x.cache.List(); len(all) != 0 || err != nil {
		x.t.Errorf("the cache has %v, %v", all, err)
	}
}

func TestPull(t *testing.T) {
	x := newFixture(t, model())
	x.hub.PageSize, x.hub.Token, x.token = 3, "hf_secret", "hf_secret"
	s := x.good(needed)
	if s.Kind != Safetensors || s.Commit != hubtest.Commit || s.Revision != "main" || s.Name() != "Tiny-1" || s.Endpoint != x.hub.URL() {
		t.Errorf("%+v", s)
	}
	fromCDN := 0
	for _, r := range x.hub.Requests() {
		token := r.Header.Get("Authorization")
		if r.Host == x.hub.CDNHost() {
			if fromCDN++; token != "" {
				t.Errorf("the token went to %s", r.Host)
			}
		} else if token != "Bearer hf_secret" {
			t.Errorf("%s: token %q", r.URL, token)
		}
	}
	if fromCDN != 1 {
		t.Errorf("%d requests of the file in LFS, want 1", fromCDN)
	}

	x.good(needed)
	if r := x.hub.Requests(); len(r) != 6 { // the commit and five pages of files
		t.Errorf("%d requests of a pull that needs nothing, want 6", len(r))
	}
	damaged := filepath.Join(s.Dir(), "model.safetensors")
	if err := os.WriteFile(damaged, noise(9, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	x.good(needed) // as long, but with other bytes
}

// TestHeadersHaveChecksums has a tree without checksums and takes them from the files' own headers.
func TestHeadersHaveChecksums(t *testing.T) {
	x := newFixture(t, model())
	x.hub.Bare = true
	s := x.good(needed)
	for _, f := range s.Files {
		if lfs := f.Path == "model.safetensors"; lfs != (f.SHA256 != "") || lfs == (f.GitSHA1 != "") {
			t.Errorf("%+v", f)
		}
	}
}

func TestChoice(t *testing.T) {
	index := `{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`
	for name, c := range map[string]struct {
		files map[string]string
		globs []string
		want  []string
		is    error
		words []string
	}{
		"adapter":          {files: map[string]string{"adapter_config.json": "{}", "adapter_model.safetensors": "a", "tokenizer.json": "{}", "adapter_model.bin": "p"}, want: []string{"adapter_config.json", "adapter_model.safetensors"}},
		"adapter, pickled": {files: map[string]string{"adapter_config.json": "{}", "adapter_model.bin": "p"}, is: ErrUnusable, words: []string{"adapter_model.safetensors", "adapter_model.bin"}},
		"one GGUF":         {files: map[string]string{"m.gguf": "g", "README.md": "r"}, want: []string{"m.gguf"}},
		"many GGUF":        {files: map[string]string{"m.Q4.gguf": "g", "m.Q8.gguf": "h"}, is: ErrChoice, words: []string{"--file", "m.Q4.gguf", "m.Q8.gguf"}},
		"named GGUF":       {files: map[string]string{"m.Q4.gguf": "g", "q8/m.Q8.gguf": "h"}, globs: []string{"*Q8*"}, want: []string{"q8/m.Q8.gguf"}},
		"no such file":     {files: map[string]string{"m.Q4.gguf": "g"}, globs: []string{"*Q8*"}, is: ErrNotFound, words: []string{"*Q8*", "m.Q4.gguf"}},
		"bad glob":         {files: map[string]string{"m.Q4.gguf": "g"}, globs: []string{"[Q8"}, is: ErrName},
		"pickle asked for": {files: map[string]string{"pytorch_model.bin": "p"}, globs: []string{"*"}, is: ErrNotFound, words: []string{"pickles"}},
		"only pickles":     {files: map[string]string{"config.json": "{}", "pytorch_model.bin": "p"}, is: ErrUnusable, words: []string{"pytorch_model.bin"}},
		"nothing":          {is: ErrUnusable, words: []string{"no files"}},
		"no tokenizer":     {files: map[string]string{"config.json": "{}", "model.safetensors": "s", "tokenizer.model": "t"}, is: ErrUnusable, words: []string{"tokenizer.json"}},
		"shards": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": index, "model-00001-of-00002.safetensors": "1",
			"model-00002-of-00002.safetensors": "2", "model-00003-of-00002.safetensors": "3"},
			want: []string{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"}},
		"shard missing": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": index, "model-00001-of-00002.safetensors": "1"},
			is: ErrCorrupt, words: []string{"model-00002-of-00002.safetensors"}},
		"shard outside": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": `{"weight_map":{"a":"../../x.safetensors"}}`},
			is: ErrName, words: []string{"../../x.safetensors"}},
		"shard pickled": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": `{"weight_map":{"a":"m.bin"}}`, "m.bin": "p"},
			is: ErrUnusable, words: []string{"m.bin"}},
		"index broken": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": `{`}, is: ErrCorrupt},
		"odd names":    {files: map[string]string{"a b/%2e#?+é.gguf": "g"}, want: []string{"a b/%2e#?+é.gguf"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			for f, s := range c.files {
				files[f] = []byte(s)
			}
			x := newFixture(t, files)
			if c.is != nil {
				x.bad(c.is, c.words, c.globs...)
				return
			}
			x.good(c.want, c.globs...)
		})
	}
}

// cutting breaks connections after so many bytes of a body as the function says; never where it is negative.
func cutting(after func() int) hubtest.Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&cut{ResponseWriter: w, left: after()}, r)
		})
	}
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.left >= 0 && len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if c.left >= 0 {
		c.left -= len(p)
	}
	return c.ResponseWriter.Write(p)
}

// TestBroken pulls over a line that breaks at random places, in the API's answers too.
func TestBroken(t *testing.T) {
	x := newFixture(t, model())
	rnd := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	random := func(most, oftenOf4 int) func() int {
		return func() int {
			mu.Lock()
			defer mu.Unlock()
			if rnd.IntN(4) >= oftenOf4 {
				return -1
			}
			return rnd.IntN(most)
		}
	}
	x.hub.API, x.hub.CDN = cutting(random(300, 1)), cutting(random(2<<20, 3))
	ranges := 0
	for range 5 {
		x.good(needed)
		for _, r := range x.hub.Requests() {
			if r.Host == x.hub.CDNHost() && r.Header.Get("Range") != "" {
				ranges++
				if r.Header.Get("If-Range") != `"cdn-`+hubtest.SHA256(x.hub.Files["model.safetensors"])[:16]+`"` {
					t.Errorf("Range without the version: %v", r.Header)
				}
			}
		}
		if _, _, err := x.cache.Remove(t.Context(), repo); err != nil {
			t.Fatal(err)
		}
	}
	if ranges == 0 {
		t.Error("nothing was resumed")
	}
}

// TestResume ends a pull midway and goes on with another.
func TestResume(t *testing.T) {
	files := model()
	weights := files["model.safetensors"]
	const first = 1<<20 + 12345
	start := func(t *testing.T) *fixture {
		x := newFixture(t, model())
		x.hub.CDN = cutting(func() int { return first })
		client := x.client()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := x.cache.Pull(ctx, client, Ref{repo, "main"}, PullOptions{Warn: func(string) { cancel() }})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if all, err := x.cache.List(); len(all) != 0 || err != nil {
			t.Fatalf("an unfinished pull is listed: %v, %v", all, err)
		}
		st, err := os.Stat(filepath.Join(x.cache.dir, repo, hubtest.Commit, "model.safetensors.partial"))
		if err != nil || st.Size() == 0 || st.Size() > first {
			t.Fatalf("%v, %v", st, err)
		}
		x.hub.CDN = nil
		x.hub.Requests()
		return x
	}
	served := func(x *fixture) (ranges []string) {
		for _, r := range x.hub.Requests() {
			if r.Host == x.hub.CDNHost() {
				ranges = append(ranges, r.Header.Get("Range"))
			}
		}
		return ranges
	}
	for name, c := range map[string]struct {
		change func(x *fixture, part string)
		ranges int // requests with a range
		plain  int // without
	}{
		"the rest": {func(*fixture, string) {}, 1, 0},
		"ranges ignored": {func(x *fixture, _ string) {
			x.hub.CDN = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Range")
					next.ServeHTTP(w, r)
				})
			}
		}, 1, 0},
		"a lie about the range": {func(x *fixture, _ string) {
			x.hub.CDN = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") != "" {
						w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(weights)-1, len(weights)))
						w.WriteHeader(http.StatusPartialContent)
						_, _ = w.Write(weights)
						return
					}
					next.ServeHTTP(w, r)
				})
			}
		}, 1, 1},
		"the beginning damaged": {func(x *fixture, part string) {
			f, err := os.OpenFile(part, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("damage"), 1000)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				x.t.Fatal(err)
			}
		}, 1, 1},
		"the beginning too long": {func(x *fixture, part string) {
			if err := os.WriteFile(part, noise(7, len(weights)+1), 0o600); err != nil {
				x.t.Fatal(err)
			}
		}, 0, 1},
		"all but the name": {func(x *fixture, part string) {
			if err := os.WriteFile(part, weights, 0o600); err != nil {
				x.t.Fatal(err)
			}
		}, 0, 0},
		"another version at the server": {func(x *fixture, part string) {
			if err := errors.Join(os.WriteFile(part, noise(8, 1000), 0o600), os.WriteFile(strings.TrimSuffix(part, partialSuffix)+etagSuffix, []byte(`"older"`), 0o600)); err != nil {
				x.t.Fatal(err)
			}
		}, 1, 0},
		"no version kept": {func(x *fixture, part string) {
			if err := os.Remove(strings.TrimSuffix(part, partialSuffix) + etagSuffix); err != nil {
				x.t.Fatal(err)
			}
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := start(t)
			c.change(x, filepath.Join(x.cache.dir, repo, hubtest.Commit, "model.safetensors.partial"))
			x.good(needed)
			ranges := served(x)
			plain := slices.DeleteFunc(slices.Clone(ranges), func(s string) bool { return s != "" })
			if len(plain) != c.plain || len(ranges)-len(plain) != c.ranges {
				t.Errorf("requests with ranges %q, want %d with and %d without", ranges, c.ranges, c.plain)
			}
		})
	}
}

// answer always answers the same way for the weights.
func answer(f http.HandlerFunc) hubtest.Middleware {
	return func(http.Handler) http.Handler { return f }
}

func TestLies(t *testing.T) {
	for name, c := range map[string]struct {
		body  []byte
		is    error
		words []string
	}{
		"other bytes": {noise(9, 3<<20), ErrCorrupt, []string{"model.safetensors", "checksum", "want", "twice"}},
		"too many":    {noise(1, 3<<20+1), ErrCorrupt, []string{"model.safetensors", "more bytes"}},
		"too few":     {model()["model.safetensors"][:1000], ErrServer, []string{"model.safetensors", "8 attempts"}},
		"nothing":     {nil, ErrServer, []string{"model.safetensors", "at 0 of 3145728"}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t, model())
			x.hub.CDN = answer(func(w http.ResponseWriter, r *http.Request) {
				var from int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && from <= len(c.body) {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", from, len(c.body)))
					w.WriteHeader(http.StatusPartialContent)
				}
				_, _ = w.Write(c.body[from:])
			})
			x.bad(c.is, c.words)
			x.hub.CDN = nil
			x.good(needed)
		})
	}
}

// TestChangesMidway breaks off and goes on with another file of the same length.
func TestChangesMidway(t *testing.T) {
	x := newFixture(t, model())
	n := 0
	other := noise(10, 3<<20)
	x.hub.CDN = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				w.Header().Set("ETag", `"other"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(other)))
				(&cut{ResponseWriter: w, left: 2 << 20}).Write(other) //nolint:errcheck // it panics
			}
			next.ServeHTTP(w, r)
		})
	}
	x.good(needed)
}

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
	for _, bare := range []bool{false, true} {
		x := newFixture(t, model())
		x.hub.Bare = bare
		x.hub.API = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, repo) {
					http.Redirect(w, r, strings.Replace(r.URL.RequestURI(), repo, "new/name", 1), http.StatusTemporaryRedirect)
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

// TestHostileNames lists files that would lead out of the cache, or that say impossible things.
func TestHostileNames(t *testing.T) {
	entry := func(path string) any {
		return map[string]any{"type": "file", "path": path, "size": 1, "oid": strings.Repeat("a", 40)}
	}
	for name, c := range map[string]struct {
		entry any
		is    error
	}{
		"up":             {entry("../../../evil.gguf"), ErrName},
		"up inside":      {entry("a/../../evil.gguf"), ErrName},
		"absolute":       {entry("/etc/evil.gguf"), ErrName},
		"backslash":      {entry(`..\evil.gguf`), ErrName},
		"drive":          {entry("C:evil.gguf"), ErrName},
		"empty":          {entry(""), ErrName},
		"dot":            {entry("."), ErrName},
		"nul":            {entry("a\x00.gguf"), ErrName},
		"escape":         {entry("\x1b[2J.gguf"), ErrName},
		"ours":           {entry("x.gguf.partial"), ErrName},
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
	t.Run("links", func(t *testing.T) { // someone's link in the cache does not lead out of it
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
	})
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

// TestStall reads from a server that stops sending.
func TestStall(t *testing.T) {
	x := newFixture(t, model())
	n := 0
	x.hub.CDN = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 1 {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(3<<20))
			_, _ = w.Write(x.hub.Files["model.safetensors"][:1000])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	}
	c := x.client()
	c.stall = 20 * time.Millisecond
	s, err := x.cache.Pull(t.Context(), c, Ref{repo, "main"}, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	x.same(s, needed)
}

// TestTwoPulls pulls the same repository from many goroutines: one downloads, the others wait and find it.
func TestTwoPulls(t *testing.T) {
	x := newFixture(t, model())
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		c := x.client()
		wg.Go(func() { _, errs[i] = x.cache.Pull(t.Context(), c, Ref{repo, "main"}, PullOptions{}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range x.hub.Requests() {
		if r.Host == x.hub.CDNHost() {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the weights were asked for %d times, want once", n)
	}
	x.good(needed)
}

func TestProgress(t *testing.T) {
	x := newFixture(t, model())
	var want int64
	for _, f := range needed {
		want += int64(len(x.hub.Files[f]))
	}
	config := int64(len(x.hub.Files["config.json"]))
	for _, from := range []int64{0, want - config} { // the second time only that file is missing
		var told []int64
		s, err := x.cache.Pull(t.Context(), x.client(), Ref{repo, "main"}, PullOptions{Progress: func(p Progress) {
			if p.Total != want || p.File == "" {
				t.Errorf("%+v, want a total of %d", p, want)
			}
			told = append(told, p.Done)
		}})
		if err != nil || len(told) == 0 {
			t.Fatal(told, err)
		}
		if !slices.IsSorted(told) || told[0] != from || told[len(told)-1] != want {
			t.Errorf("%d, want from %d to %d", told, from, want)
		}
		if err := os.Remove(filepath.Join(s.Dir(), "config.json")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSpace(t *testing.T) {
	err := noSpace(fmt.Errorf("write: %w", syscall.ENOSPC))
	if !errors.Is(err, ErrNoSpace) || errors.Is(noSpace(fs.ErrPermission), ErrNoSpace) {
		t.Error(err)
	}
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{"", "huggingface.co", "ftp://x", "http://", "http://x:y"} {
		if _, err := NewClient(bad, ""); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
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
