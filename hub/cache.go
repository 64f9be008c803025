package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	manifestSuffix = ".json"
	lockDir        = ".locks"
)

// Cache is a directory of pulled repositories. Several processes may use it.
type Cache struct {
	dir string
}

// OpenCache returns the cache in a directory, which need not be there yet.
func OpenCache(dir string) *Cache { return &Cache{dir} }

// Snapshot is what was pulled of a repository at one commit: its manifest in the cache.
type Snapshot struct {
	Repo     string    `json:"repo"`     // owner/name
	Revision string    `json:"revision"` // that was asked for, such as main
	Commit   string    `json:"commit"`
	Endpoint string    `json:"endpoint"` // the hub it came from
	Kind     Kind      `json:"kind"`
	Pulled   time.Time `json:"pulled"`
	Files    []File    `json:"files"` // in order of path

	dir string
}

// Name is the repository's name without its owner.
func (s *Snapshot) Name() string { return path.Base(s.Repo) }

// Dir is the directory of the files.
func (s *Snapshot) Dir() string { return s.dir }

// Bytes is the size of all files.
func (s *Snapshot) Bytes() int64 {
	var n int64
	for _, f := range s.Files {
		n += f.Size
	}
	return n
}

// Path is what to open: the directory, or of a GGUF repository the file. With several files the error wraps ErrChoice and
// lists them.
func (s *Snapshot) Path() (string, error) {
	if s.Kind != GGUF {
		return s.dir, nil
	}
	g := ggufs(s.Files)
	if len(g) != 1 {
		return "", fmt.Errorf("hub: of %s there are %d GGUF files; name one as %s/FILE: %s: %w", s.Repo, len(g), s.Repo, list(g), ErrChoice)
	}
	return filepath.Join(s.dir, filepath.FromSlash(g[0].Path)), nil
}

// List returns what was pulled, by name and then by time. Manifests that cannot be read are left out and told of in the
// error, which comes beside the others.
func (c *Cache) List() ([]*Snapshot, error) {
	files, err := filepath.Glob(filepath.Join(escapeGlob(c.dir), "*", "*", "*"+manifestSuffix))
	if err != nil {
		return nil, fmt.Errorf("hub: cache %s: %w", c.dir, err)
	}
	var all []*Snapshot
	var errs []error
	for _, f := range files {
		s, err := readManifest(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Snapshot) int {
		if n := strings.Compare(a.Repo, b.Repo); n != 0 {
			return n
		}
		return a.Pulled.Compare(b.Pulled)
	})
	return all, errors.Join(errs...)
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(p string) string {
	return strings.NewReplacer(`[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(p)
}

func readManifest(file string) (*Snapshot, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("hub: manifest %s: %w: %w", file, ErrCorrupt, err)
	}
	s.dir = strings.TrimSuffix(file, manifestSuffix)
	if want := filepath.Join(filepath.FromSlash(s.Repo), s.Commit); !strings.HasSuffix(s.dir, string(filepath.Separator)+want) || checkRepo(s.Repo) != nil || !commitID.MatchString(s.Commit) {
		return nil, fmt.Errorf("hub: manifest %s is of %q at %q: %w", file, s.Repo, s.Commit, ErrCorrupt)
	}
	for _, f := range s.Files {
		if err := checkPath(f.Path); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", file, err)
		}
	}
	return &s, nil
}

// Find returns what a name means: "owner/name" or, where no other owner has one of that name, "name"; with "@revision" a
// revision or commit (its first 7 digits do), and otherwise the one pulled last. Errors wrap ErrNotFound or ErrChoice.
func (c *Cache) Find(name string) (*Snapshot, error) {
	all, err := c.List()
	repo, revision, _ := strings.Cut(name, "@")
	var found *Snapshot
	for _, s := range all {
		if s.Repo != repo && s.Name() != repo || revision != "" && revision != s.Revision && (len(revision) < 7 || !strings.HasPrefix(s.Commit, revision)) {
			continue
		}
		if found != nil && found.Repo != s.Repo {
			return nil, fmt.Errorf("hub: %q is %s or %s; name the owner too: %w", name, found.Repo, s.Repo, ErrChoice)
		}
		found = s // the last of a repository is the newest
	}
	if found == nil {
		return nil, errors.Join(fmt.Errorf("hub: no pulled repository %q: %w", name, ErrNotFound), err)
	}
	return found, nil
}

// Locate returns the path of a file or directory that a name means: as Find and Snapshot.Path, or "owner/name/FILE.gguf".
func (c *Cache) Locate(name string) (string, *Snapshot, error) {
	repo, file := name, ""
	if parts := strings.SplitN(name, "/", 3); len(parts) == 3 {
		repo, file = parts[0]+"/"+parts[1], parts[2]
	}
	s, err := c.Find(repo)
	if err != nil {
		return "", nil, err
	}
	if file == "" {
		p, err := s.Path()
		return p, s, err
	}
	if !has(s.Files, file) {
		return "", nil, fmt.Errorf("hub: of %s no %q was pulled; there is %s: %w", s.Repo, file, list(s.Files), ErrNotFound)
	}
	return filepath.Join(s.dir, filepath.FromSlash(file)), s, nil
}

// Remove deletes a repository with all its revisions, also the beginnings of a pull that did not end. It returns the
// repository's name and how many bytes of files were deleted. Errors wrap ErrNotFound or ErrChoice.
func (c *Cache) Remove(ctx context.Context, name string) (repo string, bytes int64, err error) {
	repo = name
	if s, err := c.Find(name); err == nil {
		repo = s.Repo
	} else if errors.Is(err, ErrChoice) || checkRepo(name) != nil {
		return "", 0, err
	}
	dir := filepath.Join(c.dir, filepath.FromSlash(repo))
	if _, err := os.Stat(dir); err != nil {
		return "", 0, fmt.Errorf("hub: no pulled repository %q: %w: %w", name, ErrNotFound, err)
	}
	unlock, err := c.lock(ctx, repo, nil)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil {
			bytes += st.Size()
		}
		return err
	})
	if err != nil {
		return "", 0, fmt.Errorf("hub: remove %s: %w", repo, err)
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return "", 0, fmt.Errorf("hub: remove %s: %w", repo, err)
	}
	defer root.Close()
	// Manifests first: a directory whose removal was interrupted does not count.
	manifests, err := fs.Glob(root.FS(), repo+"/*"+manifestSuffix)
	for _, m := range manifests {
		err = errors.Join(err, root.Remove(m))
	}
	if err = errors.Join(err, root.RemoveAll(repo)); err != nil {
		return "", 0, fmt.Errorf("hub: remove %s: %w", repo, err)
	}
	_ = root.Remove(path.Dir(repo)) // the owner's directory, when it is empty
	return repo, bytes, nil
}

// lock waits until no one else changes a repository's part of the cache. A process that dies lets go of it.
func (c *Cache) lock(ctx context.Context, repo string, warn func(string)) (unlock func() error, err error) {
	const lookEvery = 200 * time.Millisecond
	dir := filepath.Join(c.dir, lockDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("hub: cache: %w", noSpace(err))
	}
	l := flock.New(filepath.Join(dir, strings.ReplaceAll(repo, "/", "--")))
	ok, err := l.TryLock()
	if err == nil && !ok {
		if warn != nil {
			warn("waiting for another pull of " + repo)
		}
		_, err = l.TryLockContext(ctx, lookEvery)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: lock %s: %w", l.Path(), noSpace(err))
	}
	return l.Unlock, nil
}
