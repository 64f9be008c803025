package hub

import (
	"bytes"
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
	if s.Kind != Safetensors || s.Commit != hubtest.Commit || !slices.Equal(s.Revisions, []string{"main"}) || s.Name() != "Tiny-1" || s.Endpoint != x.hub.URL() {
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

// TestHeadersHaveChecksums has a tree without checksums and takes them from the files' own headers, beside any redirect.
func TestHeadersHaveChecksums(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		x := newFixture(t, model())
		x.hub.Bare = true
		x.hub.API = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(redirecting{w, status}, r) })
		}
		s := x.good(needed)
		for _, f := range s.Files {
			if lfs := f.Path == "model.safetensors"; lfs != (f.SHA256 != "") || lfs == (f.GitSHA1 != "") {
				t.Errorf("%d: %+v", status, f)
			}
		}
	}
}

// redirecting redirects with another status than 302.
type redirecting struct {
	http.ResponseWriter
	status int
}

func (r redirecting) WriteHeader(status int) {
	if status == http.StatusFound {
		status = r.status
	}
	r.ResponseWriter.WriteHeader(status)
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
		"split GGUF": {files: map[string]string{"m-00001-of-00003.gguf": "1", "m-00003-of-00003.gguf": "3", "m-00002-of-00003.gguf": "2", "README.md": "r"},
			want: []string{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"}},
		"named part": {files: map[string]string{"q4/m-00001-of-00002.gguf": "1", "q4/m-00002-of-00002.gguf": "2", "q8/m-00001-of-00002.gguf": "3", "q8/m-00002-of-00002.gguf": "4", "m.gguf": "5"},
			globs: []string{"q8/*-00001-*"}, want: []string{"q8/m-00001-of-00002.gguf", "q8/m-00002-of-00002.gguf"}},
		"two split models": {files: map[string]string{"a-00001-of-00002.gguf": "1", "a-00002-of-00002.gguf": "2", "b-00001-of-00002.gguf": "3", "b-00002-of-00002.gguf": "4"},
			is: ErrChoice, words: []string{"--file", "a-00001-of-00002.gguf"}},
		"part missing":     {files: map[string]string{"m-00001-of-00003.gguf": "1", "m-00003-of-00003.gguf": "3"}, is: ErrCorrupt, words: []string{"m-00001-of-00003.gguf", "2 files", "want 3"}},
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
		"index broken":  {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": `{`}, is: ErrCorrupt},
		"odd names":     {files: map[string]string{"a b/%2e#?+é.gguf": "g"}, want: []string{"a b/%2e#?+é.gguf"}},
		"not needed":    {files: map[string]string{"m.gguf": "g", "runs/12:30/events.out": "e", "m.gguf.etag": "e", "m.gguf.partial": "p"}, want: []string{"m.gguf"}},
		"odd in a list": {files: map[string]string{"a\x1b[2J.gguf": "g", "b.gguf": "h"}, is: ErrChoice, words: []string{`"a\x1b[2J.gguf", b.gguf`}},
		"shard's odd name": {files: map[string]string{"config.json": "{}", "tokenizer.json": "{}", "model.safetensors.index.json": `{"weight_map":{"a":"12:30.safetensors"}}`, "12:30.safetensors": "s"},
			is: ErrName, words: []string{"12:30.safetensors"}},
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
