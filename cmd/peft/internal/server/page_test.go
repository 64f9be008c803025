package server

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestPage reads the page as a browser would, by hand.
func TestPage(t *testing.T) {
	server := serve(t).Config.Handler
	get := func(at, etag string) (reply, string) {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+at, nil)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return reply{w.Code, w.Result().Header}, w.Body.String()
	}
	r, page := get("/", "")
	if r.StatusCode != http.StatusOK || !strings.Contains(page, "<title>peft</title>") {
		t.Fatalf("%d %.100s", r.StatusCode, page)
	}
	header := r.Header
	if p := header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", header)
	}
	if r, b := get("/", header.Get("ETag")); r.StatusCode != http.StatusNotModified || b != "" {
		t.Errorf("the same page again: %d, %d bytes", r.StatusCode, len(b))
	}
	for _, at := range []string{"/page/", "/page/none.js", "/page/../server.go", "/page/vendor/LICENSE", "/page/%2e%2e/page.go", "/elsewhere"} {
		if r, _ := get(at, ""); r.StatusCode == http.StatusOK {
			t.Errorf("%s: %d", at, r.StatusCode)
		}
	}
	// What the page and its modules name is there, is theirs, and needs no exception from the policy.
	names := regexp.MustCompile(`(?:src|href)="(/[^"]+)"|from '\./([^']+)'`)
	inline := regexp.MustCompile(`<style|<script>|\sstyle=|\son[a-z]+="`)
	err := fs.WalkDir(web, "web", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(file, "vendor/") {
			return err
		}
		b, err := fs.ReadFile(web, file)
		text := string(b)
		if strings.HasSuffix(file, ".html") && inline.MatchString(text) {
			t.Errorf("%s has inline style or script: %q", file, inline.FindString(text))
		}
		if strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/", ""), "://") {
			t.Errorf("%s names another server", file)
		}
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			at := m[1]
			if at == "" {
				at = path.Join("/page", m[2])
			}
			if r, _ := get(at, ""); r.StatusCode != http.StatusOK || r.Header.Get("ETag") == "" {
				t.Errorf("%s names %s: %d", file, at, r.StatusCode)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStats(t *testing.T) {
	p := newPlace(t)
	p.want(http.StatusOK, "POST", "/v1/completions", map[string]any{"model": "builtin", "prompt": "A function", "max_tokens": 5})
	v := p.want(http.StatusOK, "GET", "/peft/v1/stats", nil)
	if v["base"] != "builtin" || v["chat"] != true || len(v["base_fingerprint"].(string)) != 64 || !(v["seconds"].(float64) > 0) {
		t.Error(v)
	}
}
