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
	if _, err := ParseRef("gpt2"); !strings.Contains(err.Error(), "owner/name") || !strings.Contains(err.Error(), "openai-community/gpt2") {
		t.Error(err)
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
	located("acme/tiny@", "", ErrNotFound)
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

	split := OpenCache(t.TempDir())
	put(t, split, "acme/split", map[string][]byte{"d/m-00001-of-00002.gguf": []byte("1"), "d/m-00002-of-00002.gguf": []byte("2")})
	if got, _, err := split.Locate("split"); got != filepath.Join(split.dir, "acme", "split", hubtest.Commit, "d", "m-00001-of-00002.gguf") || err != nil {
		t.Errorf("a split model is at %s, %v", got, err)
	}

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

// TestRevisions pulls one repository under several names, of which some stand for the same commit and one moves to another.
func TestRevisions(t *testing.T) {
	x := newFixture(t, map[string][]byte{"a.gguf": []byte("a"), "d/b.gguf": []byte("b")})
	commits := []string{hubtest.Commit, strings.Repeat("a", 40)}
	x.hub.Commits = map[string]string{"v2": commits[1]}
	pull := func(revision, file string) {
		t.Helper()
		if _, err := x.cache.Pull(t.Context(), x.client(), Ref{repo, revision}, PullOptions{Files: []string{file}}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name, commit, file string) {
		t.Helper()
		got, _, err := x.cache.Locate(name)
		if want := filepath.Join(x.cache.dir, repo, commit, file); commit != "" && (got != want || err != nil) || commit == "" && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s is at %s, %v; want %q of commit %q", name, got, err, file, commit)
		}
	}
	remove := func(name string, want int64) {
		t.Helper()
		_, revision, _ := strings.Cut(name, "@")
		if removed, n, err := x.cache.Remove(t.Context(), name); removed != repo+"@"+revision || n != want || err != nil {
			t.Errorf("%s %d %v, want %d bytes", removed, n, err, want)
		}
	}
	pull("main", "a.gguf")
	pull("v1", "a.gguf")
	pull("refs/pr/1", "a.gguf")
	pull("v1", "a.gguf")
	for _, name := range []string{"", "@main", "@v1", "@refs/pr/1", "@0123456", "@main/a.gguf", "@refs/pr/1/a.gguf", "/a.gguf"} {
		at(repo+name, commits[0], "a.gguf")
	}
	at("Tiny-1@refs/pr/1", commits[0], "a.gguf")
	at(repo+"@refs/pr", "", "")
	at(repo+"@refs/pr/1/d/b.gguf", "", "")
	if s, err := x.cache.Find(repo); err != nil || strings.Join(s.Revisions, " ") != "main refs/pr/1 v1" {
		t.Errorf("%+v %v", s, err)
	}

	pull("v2", "d/b.gguf")
	at(repo, commits[1], "d/b.gguf")
	at(repo+"@main", commits[0], "a.gguf")
	at(repo+"@v2/d/b.gguf", commits[1], "d/b.gguf")

	x.hub.Commits["main"] = commits[1] // a branch moves
	pull("main", "d/b.gguf")
	pull("v1", "a.gguf") // of the older commit, after the newer
	at(repo+"@main", commits[1], "d/b.gguf")
	at(repo+"@v1", commits[0], "a.gguf")

	remove(repo+"@main", 0) // v2 is the same commit
	at(repo+"@main", "", "")
	remove("Tiny-1@v2", 1) // its last name
	at(repo+"@v2", "", "")
	at(repo+"@aaaaaaa", "", "")
	if _, err := os.Stat(filepath.Join(x.cache.dir, repo, commits[1])); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	at(repo+"@v1", commits[0], "a.gguf")
	for _, name := range []string{"@v2", "@"} {
		if _, _, err := x.cache.Remove(t.Context(), repo+name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	remove(repo+"@"+commits[0], 1) // a commit goes with all its names
	if all, err := x.cache.List(); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
	if _, err := os.Stat(filepath.Join(x.cache.dir, "acme")); !errors.Is(err, os.ErrNotExist) {
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
		if checkPath(file.Path) != nil {
			file.Path = "refused"
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
