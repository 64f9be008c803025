package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Progress is how far a pull has come.
type Progress struct {
	Done  int64 // bytes that are here, those of earlier pulls included
	Total int64 // bytes of all files
	File  string
}

// PullOptions of Cache.Pull.
type PullOptions struct {
	// Files are globs of the files to get, as path.Match takes them, against the path or, without a slash, the name. Empty
	// for the files that the model or adapter needs.
	Files []string
	// Progress, when not nil, is told of every piece that arrives, from the goroutine that called Pull.
	Progress func(Progress)
	// Warn, when not nil, is told of attempts that failed and of waiting.
	Warn func(msg string)
}

// Pull brings a repository's needed files into the cache and returns what is there. Files that are there already are
// checked and kept, beginnings are continued, and a pull of other files of the same commit adds to it. Errors wrap the
// errors of this package.
func (c *Cache) Pull(ctx context.Context, client *Client, r Ref, o PullOptions) (s *Snapshot, err error) {
	if err := checkRepo(r.Repo); err != nil {
		return nil, err
	}
	told := *client
	told.warn = o.Warn
	client = &told
	unlock, err := c.lock(ctx, r.Repo, o.Warn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	commit, err := client.Commit(ctx, r)
	if err != nil {
		return nil, err
	}
	all, err := client.Tree(ctx, r.Repo, commit)
	if err != nil {
		return nil, err
	}
	files, err := choose(r.Repo, all, o.Files)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := checkPath(f.Path); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, fmt.Errorf("hub: cache: %w", err)
	}
	defer root.Close()
	p := pull{client: client, root: root, repo: r.Repo, commit: commit, dir: path.Join(r.Repo, commit), progress: o.Progress}
	if files, err = p.files(ctx, files, all, len(o.Files) == 0); err != nil {
		return nil, err
	}
	s = &Snapshot{Repo: r.Repo, Revisions: []string{r.Revision}, Commit: commit, Endpoint: client.endpoint.String(), Pulled: time.Now().UTC(), Files: files,
		dir: filepath.Join(c.dir, filepath.FromSlash(p.dir))}
	if old, err := readManifest(s.dir + manifestSuffix); err == nil {
		old.drop(r.Revision)
		s.Revisions = slices.Concat(old.Revisions, s.Revisions)
		for _, f := range old.Files {
			if !has(s.Files, f.Path) {
				s.Files = append(s.Files, f)
			}
		}
	}
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	s.Kind = kindOf(s.Files)
	if err := errors.Join(writeManifest(root, s), c.moved(root, s, r.Revision)); err != nil {
		return nil, fmt.Errorf("hub: manifest of %s: %w", r.Repo, noSpace(err))
	}
	return s, nil
}

// moved takes a revision, which is a snapshot's now, from the repository's other snapshots.
func (c *Cache) moved(root *os.Root, to *Snapshot, revision string) error {
	all, _ := c.List() // manifests that cannot be read have no revisions
	var errs []error
	for _, s := range all {
		if s.Repo == to.Repo && s.Commit != to.Commit && s.drop(revision) {
			errs = append(errs, writeManifest(root, s))
		}
	}
	return errors.Join(errs...)
}

// pull brings files of one commit.
type pull struct {
	client       *Client
	root         *os.Root
	repo, commit string
	dir          string // of the files, in root
	progress     func(Progress)

	here, total int64 // bytes
}

// files brings the chosen files, and the shards that a chosen index names when the choice was not the user's. It returns all
// of them, with their checksums.
func (p *pull) files(ctx context.Context, chosen, all []File, withShards bool) ([]File, error) {
	if withShards && has(chosen, indexFile) {
		i := slices.IndexFunc(chosen, func(f File) bool { return f.Path == indexFile })
		if _, err := p.file(ctx, chosen[i]); err != nil {
			return nil, err
		}
		index, err := p.root.ReadFile(path.Join(p.dir, indexFile))
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		more, err := shards(index, all)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, more...)
	}
	p.here, p.total = 0, 0
	for _, f := range chosen {
		p.here += p.begun(f)
		p.total += f.Size
	}
	for i, f := range chosen {
		var err error
		if chosen[i], err = p.file(ctx, f); err != nil {
			return nil, err
		}
	}
	return chosen, nil
}

// begun returns how many bytes of a file an earlier pull has brought.
func (p *pull) begun(f File) int64 {
	for _, suffix := range []string{"", partialSuffix} {
		if st, err := p.root.Stat(path.Join(p.dir, f.Path) + suffix); err == nil {
			return min(st.Size(), f.Size)
		}
	}
	return 0
}

// file brings one file, unless it is there.
func (p *pull) file(ctx context.Context, f File) (File, error) {
	address, name := p.client.fileURL(p.repo, p.commit, f.Path), path.Join(p.dir, f.Path)
	f, err := p.client.withChecksum(ctx, f, address)
	if err != nil {
		return f, err
	}
	if err := p.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return f, fmt.Errorf("hub: cache: %w", noSpace(err))
	}
	there, err := check(p.root, name, f)
	if err != nil {
		return f, fmt.Errorf("hub: %w", err)
	}
	have := p.begun(f)
	tell := func(at int64) {
		p.here += at - have
		have = at
		if p.progress != nil && p.total > 0 {
			p.progress(Progress{Done: p.here, Total: p.total, File: f.Path})
		}
	}
	if there {
		return f, nil
	}
	return f, p.client.download(ctx, p.root, name, address, f, tell)
}
