package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopeft/peft/hub/hubtest"
)

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

// TestNothingNew gives up on a server that ignores ranges and always breaks off at the same place, which is far on.
func TestNothingNew(t *testing.T) {
	x := newFixture(t, model())
	var n atomic.Int64
	x.hub.CDN = func(next http.Handler) http.Handler {
		broken := cutting(func() int { return 3 << 19 })(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) > 10*maxTries { // a pull that does not give up succeeds
				next.ServeHTTP(w, r)
				return
			}
			r.Header.Del("Range")
			broken.ServeHTTP(w, r)
		})
	}
	x.bad(ErrServer, []string{"8 attempts"})
	if n := n.Load(); n < maxTries || n >= 2*maxTries { // the tries are counted anew once, at the first mebibyte
		t.Errorf("%d requests", n)
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
