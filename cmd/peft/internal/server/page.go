package server

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// web is the page: modules, styles and one vendored library, served as they are.
//
//go:embed web
var web embed.FS

// pagePolicy lets the page load its own files and call its own server, and nothing else.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pageTypes are the media types of the page's files; the system's own table may have others or none.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// routePage serves the page at / and what it loads below /page/. All of it is public: the data behind it is not.
func (s *Server) routePage() {
	s.handle("GET /{$}", public, pageFile("index.html"))
	s.handle("GET /page/{file...}", public, func(w http.ResponseWriter, r *http.Request) { pageFile(r.PathValue("file"))(w, r) })
}

// pageFile serves one file, which a client that has it already need not read again.
func pageFile(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := fs.ReadFile(web, path.Join("web", path.Clean("/"+name)))
		kind, ok := pageTypes[path.Ext(name)]
		if err != nil || !ok {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(b)
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // which is: ask whether it is still the same
		h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}
