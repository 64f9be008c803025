package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Remove deletes a repository with all its revisions, also the beginnings of a pull that did not end; or of
// "owner/name@revision" that revision: its name, and with the last name of a commit, or by the commit itself, the files. It
// returns what was removed, with the owner, and how many bytes of files were deleted. Errors wrap ErrNotFound or ErrChoice.
func (c *Cache) Remove(ctx context.Context, name string) (removed string, bytes int64, err error) {
	repo, revision, one := strings.Cut(name, "@")
	if s, err := c.Find(name); err == nil {
		repo = s.Repo
	} else if one || errors.Is(err, ErrChoice) || checkRepo(repo) != nil {
		return "", 0, err
	}
	root, err := os.OpenRoot(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, fmt.Errorf("hub: no pulled repository %q: %w: %w", name, ErrNotFound, err)
	}
	if err != nil {
		return "", 0, fmt.Errorf("hub: cache: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(repo); err != nil {
		return "", 0, fmt.Errorf("hub: no pulled repository %q: %w: %w", name, ErrNotFound, err)
	}
	unlock, err := c.lock(ctx, repo, nil)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if removed = repo; one {
		removed += "@" + revision
		bytes, err = c.removeRevision(root, repo, revision)
	} else {
		bytes, err = removeRepo(root, repo)
	}
	if err != nil {
		return "", 0, fmt.Errorf("hub: remove %s: %w", removed, err)
	}
	_ = root.Remove(repo) // the directories, when they are empty
	_ = root.Remove(path.Dir(repo))
	return removed, bytes, nil
}

func removeRepo(root *os.Root, repo string) (bytes int64, err error) {
	manifests, err := fs.Glob(root.FS(), repo+"/*"+manifestSuffix)
	if err != nil {
		return 0, err
	}
	return removeFiles(root, repo, manifests)
}

func (c *Cache) removeRevision(root *os.Root, repo, revision string) (bytes int64, err error) {
	s, err := c.Find(repo + "@" + revision) // anew: until it was locked, another pull may have changed it
	if err != nil {
		return 0, err
	}
	if !s.isCommit(revision) && s.drop(revision) && len(s.Revisions) > 0 {
		return 0, writeManifest(root, s)
	}
	dir := path.Join(repo, s.Commit)
	return removeFiles(root, dir, []string{dir + manifestSuffix})
}

// removeFiles deletes a directory and returns how many bytes its files had. The manifests go first: a directory whose removal
// was interrupted does not count.
func removeFiles(root *os.Root, dir string, manifests []string) (bytes int64, err error) {
	err = fs.WalkDir(root.FS(), dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
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
		return 0, err
	}
	for _, m := range manifests {
		if err := root.Remove(m); err != nil {
			return 0, err
		}
	}
	return bytes, root.RemoveAll(dir)
}
