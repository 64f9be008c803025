package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const manifestSuffix = ".json"

// Snapshot is what was pulled of a repository at one commit: its manifest in the cache.
type Snapshot struct {
	Repo      string    `json:"repo"`      // owner/name
	Revisions []string  `json:"revisions"` // that it was pulled as, such as main, the last one last; each is of one commit
	Commit    string    `json:"commit"`
	Endpoint  string    `json:"endpoint"` // the hub it came from
	Kind      Kind      `json:"kind"`
	Pulled    time.Time `json:"pulled"`
	Files     []File    `json:"files"` // in order of path

	dir string
}

// Name is the repository's name without its owner.
func (s *Snapshot) Name() string { return path.Base(s.Repo) }

// isCommit reports whether a revision is the commit or enough of its first digits.
func (s *Snapshot) isCommit(revision string) bool {
	const fewest = 7
	return len(revision) >= fewest && strings.HasPrefix(s.Commit, revision)
}

// drop takes a revision from the snapshot's and reports whether it was there.
func (s *Snapshot) drop(revision string) bool {
	n := len(s.Revisions)
	s.Revisions = slices.DeleteFunc(s.Revisions, func(r string) bool { return r == revision })
	return len(s.Revisions) < n
}

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

// Path is what to open: the directory, or of a GGUF repository the file, the first one of a split model. With files of
// several models the error wraps ErrChoice and lists them.
func (s *Snapshot) Path() (string, error) {
	if s.Kind != GGUF {
		return s.dir, nil
	}
	g := ggufs(s.Files)
	if !oneModel(g) {
		return "", fmt.Errorf("hub: of %s there are %d GGUF files; name one as %s/FILE: %s: %w", s.Repo, len(g), s.Repo, list(g), ErrChoice)
	}
	return filepath.Join(s.dir, filepath.FromSlash(g[0].Path)), nil
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

// writeManifest writes all of the manifest or nothing.
func writeManifest(root *os.Root, s *Snapshot) error {
	name := path.Join(s.Repo, s.Commit) + manifestSuffix
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	f, err := root.Create(name + partialSuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return root.Rename(name+partialSuffix, name)
}
