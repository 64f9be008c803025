package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const lockDir = ".locks"

// Cache is a directory of pulled repositories. Several processes may use it.
type Cache struct {
	dir string
}

// OpenCache returns the cache in a directory, which need not be there yet.
func OpenCache(dir string) *Cache { return &Cache{dir} }

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

// Find returns what a name means: "owner/name" or, where no other owner has one of that name, "name"; with "@revision" a
// revision or commit (its first 7 digits do), and otherwise the one pulled last. Errors wrap ErrNotFound or ErrChoice.
func (c *Cache) Find(name string) (*Snapshot, error) {
	all, unread := c.List()
	s, err := find(all, name)
	if errors.Is(err, ErrNotFound) {
		err = errors.Join(err, unread)
	}
	return s, err
}

func find(all []*Snapshot, name string) (*Snapshot, error) {
	repo, revision, at := strings.Cut(name, "@")
	var found *Snapshot
	for _, s := range all {
		if s.Repo != repo && s.Name() != repo || at && !slices.Contains(s.Revisions, revision) && !s.isCommit(revision) {
			continue
		}
		if found != nil && found.Repo != s.Repo {
			return nil, fmt.Errorf("hub: %q is %s or %s; name the owner too: %w", name, found.Repo, s.Repo, ErrChoice)
		}
		found = s // the last of a repository is the newest
	}
	if found == nil {
		return nil, fmt.Errorf("hub: no pulled repository %q: %w", name, ErrNotFound)
	}
	return found, nil
}

// Locate returns the path of a file or directory that a name means: as Find and Snapshot.Path, or with the file's path behind
// the repository or the revision, "owner/name/FILE.gguf" or "owner/name@revision/FILE.gguf".
func (c *Cache) Locate(name string) (string, *Snapshot, error) {
	all, unread := c.List()
	s, err := find(all, name)
	if err == nil {
		p, err := s.Path()
		return p, s, err
	}
	if !errors.Is(err, ErrNotFound) {
		return "", nil, err
	}
	// Revisions have slashes too: the longest beginning that was pulled is the repository's, the rest the file's.
	for at := strings.LastIndex(name, "/"); at > strings.Index(name, "/"); at = strings.LastIndex(name[:at], "/") {
		s, err := find(all, name[:at])
		if err != nil {
			continue
		}
		file := name[at+1:]
		if !has(s.Files, file) {
			return "", nil, fmt.Errorf("hub: of %s no %q was pulled; there is %s: %w", s.Repo, file, list(s.Files), ErrNotFound)
		}
		return filepath.Join(s.dir, filepath.FromSlash(file)), s, nil
	}
	return "", nil, errors.Join(err, unread)
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
