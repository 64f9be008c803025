// Package hubtest is a hub in the test's process: the part of Hugging Face's API that pulling uses, with files of Git LFS
// on another host. Tests put handlers in front of either to break it.
package hubtest

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // git names blobs by it
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Commit is what the revisions of a Hub stand for.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Middleware answers some requests itself and gives the others on.
type Middleware func(next http.Handler) http.Handler

// Hub serves one repository. Its fields may be changed between requests.
type Hub struct {
	Repo     string
	Files    map[string][]byte
	LFS      func(name string) bool // which files are in Git LFS; nil for those of .safetensors and .gguf
	Commits  map[string]string      // what other revisions stand for; all commits have the same files
	PageSize int                    // entries of a page of the tree; 0 for all
	Entries  []any                  // more entries of the tree, as they are
	Bare     bool                   // the tree has no checksums
	Token    string                 // that a request must have; empty for none

	API, CDN Middleware

	api, cdn *httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

// New starts a hub that ends with the test.
func New(t testing.TB, repo string, files map[string][]byte) *Hub {
	h := &Hub{Repo: repo, Files: files}
	h.api = httptest.NewServer(h.record(func() Middleware { return h.API }, h.serveAPI))
	h.cdn = httptest.NewServer(h.record(func() Middleware { return h.CDN }, h.serveCDN))
	t.Cleanup(h.api.Close)
	t.Cleanup(h.cdn.Close)
	return h
}

// URL is the hub's endpoint.
func (h *Hub) URL() string { return h.api.URL }

// CDNHost is the host and port that files in Git LFS come from.
func (h *Hub) CDNHost() string { return strings.TrimPrefix(h.cdn.URL, "http://") }

// Requests returns what was asked since the last call.
func (h *Hub) Requests() []*http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.requests
	h.requests = nil
	return r
}

func (h *Hub) record(m func() Middleware, serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, r.Clone(r.Context()))
		h.mu.Unlock()
		if f := m(); f != nil {
			f(serve).ServeHTTP(w, r)
			return
		}
		serve(w, r)
	})
}

func (h *Hub) lfs(name string) bool {
	if h.LFS != nil {
		return h.LFS(name)
	}
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".gguf")
}

func (h *Hub) serveAPI(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, message string) {
		w.Header().Set("X-Error-Code", code)
		w.Header().Set("X-Error-Message", message)
		w.WriteHeader(status)
	}
	api, file := "/api/models/"+h.Repo, "/"+h.Repo+"/resolve/"
	switch {
	case h.Token != "" && r.Header.Get("Authorization") != "Bearer "+h.Token:
		refuse(http.StatusUnauthorized, "RepoNotFound", "Repository not found")
	case r.URL.Path == api+"/revision/gone":
		refuse(http.StatusNotFound, "RevisionNotFound", "Invalid rev id: gone")
	case strings.HasPrefix(r.URL.Path, api+"/revision/"):
		revision := strings.TrimPrefix(r.URL.Path, api+"/revision/")
		h.json(w, map[string]any{"id": h.Repo, "sha": cmp.Or(h.Commits[revision], Commit)})
	case strings.HasPrefix(r.URL.Path, api+"/tree/") && r.URL.Query().Get("recursive") == "true":
		h.tree(w, r)
	case strings.HasPrefix(r.URL.Path, file):
		commit, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, file), "/")
		h.resolve(w, r, commit, name)
	default:
		refuse(http.StatusNotFound, "RepoNotFound", "Repository not found")
	}
}

func (h *Hub) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that left is the test's own doing
}

func (h *Hub) tree(w http.ResponseWriter, r *http.Request) {
	entries := []any{map[string]any{"type": "directory", "path": "onnx", "size": 0, "oid": strings.Repeat("0", 40)}}
	for _, name := range slices.Sorted(maps.Keys(h.Files)) {
		b := h.Files[name]
		e := map[string]any{"type": "file", "path": name, "size": len(b)}
		if !h.Bare {
			e["oid"] = GitSHA1(b)
			if h.lfs(name) {
				e["lfs"] = map[string]any{"oid": SHA256(b), "size": len(b), "pointerSize": 134}
				e["oid"] = strings.Repeat("1", 40) // of the pointer
			}
		}
		entries = append(entries, e)
	}
	entries = append(entries, h.Entries...)
	if h.PageSize > 0 {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor")) // without one the first page
		end := min(from+h.PageSize, len(entries))
		if end < len(entries) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?recursive=true&cursor=%d>; rel="next"`, h.api.URL, r.URL.Path, end))
		}
		entries = entries[from:end]
	}
	h.json(w, entries)
}

func (h *Hub) resolve(w http.ResponseWriter, r *http.Request, commit, name string) {
	b, ok := h.Files[name]
	if !ok || commit != Commit && !slices.Contains(slices.Collect(maps.Values(h.Commits)), commit) {
		w.Header().Set("X-Error-Code", "EntryNotFound")
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if h.lfs(name) {
		w.Header().Set("X-Linked-Etag", `"`+SHA256(b)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(b)))
		http.Redirect(w, r, h.cdn.URL+"/"+(&url.URL{Path: name}).EscapedPath()+"?Signature=abc", http.StatusFound)
		return
	}
	w.Header().Set("ETag", `"`+GitSHA1(b)+`"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
}

func (h *Hub) serveCDN(w http.ResponseWriter, r *http.Request) {
	b, ok := h.Files[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok || r.Header.Get("Authorization") != "" { // a signed address and a token together are refused, as by S3
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("ETag", `"cdn-`+SHA256(b)[:16]+`"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
}

// SHA256 is the checksum of files in Git LFS.
func SHA256(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// GitSHA1 is the checksum of other files.
func GitSHA1(b []byte) string {
	s := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(s[:])
}
