package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft/hub/hubtest"
)

func TestParseRef(t *testing.T) {
	for in, want := range map[string]Ref{
		"acme/tiny":           {"acme/tiny", "main"},
		"acme/tiny@refs/pr/1": {"acme/tiny", "refs/pr/1"},
		"_a/T.1-b_c@v1":       {"_a/T.1-b_c", "v1"},
	} {
		if got, err := ParseRef(in); got != want || err != nil {
			t.Errorf("%q: %+v %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "tiny", "a/b/c", "../b", "a/..", "a/b..c", "a--b/c", "-a/b", "a/b@", "a/b@../x", "a/b@x\n", "/b", "a/", "a b/c", "a/" + strings.Repeat("x", 97)} {
		if got, err := ParseRef(in); !errors.Is(err, ErrName) {
			t.Errorf("%q: %+v %v", in, got, err)
		}
	}
}

// put writes a repository into the cache as a pull does.
func put(t *testing.T, c *Cache, repo string, files map[string][]byte, globs ...string) *Snapshot {
	t.Helper()
	h := hubtest.New(t, repo, files)
	client, err := NewClient(h.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Pull(t.Context(), client, Ref{repo, "main"}, PullOptions{Files: globs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLocate(t *testing.T) {
	c := OpenCache(filepath.Join(t.TempDir(), "[a]*")) // a directory's name is no pattern
	if all, err := c.List(); len(all) != 0 || err != nil {
		t.Fatal(all, err)
	}
	put(t, c, "acme/tiny", model())
	put(t, c, "other/tiny", model())
	put(t, c, "acme/quants", map[string][]byte{"q4.gguf": []byte("4"), "d/q8.gguf": []byte("8"), "q2.gguf": []byte("2")}, "q4.gguf")
	at := func(parts ...string) string { return filepath.Join(append([]string{c.dir}, parts...)...) }
	located := func(name, want string, is error, words ...string) {
		t.Helper()
		got, _, err := c.Locate(name)
		if is != nil {
			if !errors.Is(err, is) {
				t.Errorf("%s: %s %v, want %v", name, got, err, is)
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %v, want %q in it", name, err, w)
				}
			}
		} else if got != want || err != nil {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	quants := at("acme", "quants", hubtest.Commit)
	located("acme/tiny", at("acme", "tiny", hubtest.Commit), nil)
	located("acme/tiny@main", at("acme", "tiny", hubtest.Commit), nil)
	located("acme/tiny@0123456", at("acme", "tiny", hubtest.Commit), nil)
	located("acme/tiny@012345", "", ErrNotFound)
	located("acme/tiny@v2", "", ErrNotFound)
	located("tiny", "", ErrChoice, "acme/tiny", "other/tiny")
	located("quants", filepath.Join(quants, "q4.gguf"), nil)
	located("acme/big", "", ErrNotFound, "acme/big")
	located("acme/quants/q8.gguf", "", ErrNotFound, "q4.gguf")

	s := put(t, c, "acme/quants", map[string][]byte{"q4.gguf": []byte("4"), "d/q8.gguf": []byte("8"), "q2.gguf": []byte("2")}, "d/*")
	if len(s.Files) != 2 || s.Bytes() != 2 {
		t.Errorf("%+v", s)
	}
	located("quants", "", ErrChoice, "q4.gguf", "d/q8.gguf", "acme/quants/FILE")
	located("acme/quants/d/q8.gguf", filepath.Join(quants, "d", "q8.gguf"), nil)
	located("acme/quants/../../x.gguf", "", ErrNotFound)

	all, err := c.List()
	if len(all) != 3 || err != nil || all[0].Repo != "acme/quants" || all[2].Repo != "other/tiny" {
		t.Errorf("%v %v", all, err)
	}
}

func TestRemove(t *testing.T) {
	c := OpenCache(t.TempDir())
	put(t, c, "acme/tiny", model())
	put(t, c, "other/tiny", model())
	for name, is := range map[string]error{"tiny": ErrChoice, "acme/big": ErrNotFound, "../..": ErrNotFound, "acme": ErrNotFound, "": ErrNotFound, ".": ErrNotFound} {
		if _, _, err := c.Remove(t.Context(), name); !errors.Is(err, is) {
			t.Errorf("%q: %v, want %v", name, err, is)
		}
	}
	repo, n, err := c.Remove(t.Context(), "acme/tiny")
	if repo != "acme/tiny" || n < 3<<20 || err != nil {
		t.Errorf("%s %d %v", repo, n, err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "acme")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if s, err := c.Find("tiny"); err != nil || s.Repo != "other/tiny" {
		t.Errorf("%v %v", s, err)
	}
	// What an interrupted pull left has no manifest, but goes too.
	if err := os.MkdirAll(filepath.Join(c.dir, "acme", "part", hubtest.Commit), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Remove(t.Context(), "acme/part"); err != nil {
		t.Error(err)
	}
}

// TestManifest does not believe manifests that someone else wrote.
func TestManifest(t *testing.T) {
	c := OpenCache(t.TempDir())
	put(t, c, "acme/tiny", model())
	commit := strings.Repeat("e", 40)
	for _, text := range []string{
		"", "{", "[]", "null", `{"repo":"acme/tiny","commit":"` + hubtest.Commit + `"}`, `{"repo":"../..","commit":"` + commit + `"}`,
		`{"repo":"acme/evil","commit":"` + commit + `","files":[{"path":"../../../x.gguf"}]}`, `{"repo":"acme/evil","commit":"e"}`,
	} {
		file := filepath.Join(c.dir, "acme", "evil", commit+".json")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		all, err := c.List()
		if len(all) != 1 || err == nil {
			t.Errorf("%s: %v %v", text, all, err)
		}
		if _, err := c.Find("acme/tiny"); err != nil {
			t.Error(err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte(`{"type":"file","path":"a/b.gguf","size":1,"oid":"` + strings.Repeat("a", 40) + `"}`))
	f.Add([]byte(`{"type":"file","path":"../b","size":1,"lfs":{"oid":"` + strings.Repeat("a", 64) + `","size":2}}`))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, ok, err := parseEntry(raw)
		if !ok || err != nil {
			return
		}
		inside := filepath.Join(root, filepath.FromSlash(file.Path))
		if !strings.HasPrefix(inside, root+string(filepath.Separator)) || file.Size < 0 || len(file.SHA256) != 64 && file.SHA256 != "" {
			t.Errorf("%q gives %+v", raw, file)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add(`<https://a/b?c=d>; rel="next", <x>; rel=prev`, "bytes 5-9/10")
	f.Add(`<a>; title="x"; rel=next`, "bytes */10")
	f.Fuzz(func(t *testing.T, link, content string) {
		if l := nextLink([]string{link}); l != "" && !strings.Contains(link, "<"+l+">") {
			t.Errorf("%q gives %q", link, l)
		}
		if from, ok := contentRange(content); ok && from < 0 {
			t.Errorf("%q gives %d", content, from)
		}
	})
}
