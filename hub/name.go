package hub

import (
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

// DefaultRevision is the branch that a reference without a revision means.
const DefaultRevision = "main"

// A name is made as the hub allows it, which also keeps it a plain directory's name.
var (
	repoPart = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// Ref names a repository at a revision.
type Ref struct {
	Repo     string // owner/name
	Revision string // a branch, tag or commit
}

// ParseRef reads "owner/name" or "owner/name@revision". Errors wrap ErrName.
func ParseRef(s string) (Ref, error) {
	repo, revision, at := strings.Cut(s, "@")
	r := Ref{Repo: repo, Revision: cmp.Or(revision, DefaultRevision)}
	if err := checkRepo(repo); err != nil {
		return Ref{}, err
	}
	if at && revision == "" || len(revision) > 255 || strings.Contains(revision, "..") || strings.ContainsFunc(revision, unicode.IsControl) {
		return Ref{}, fmt.Errorf("hub: revision %q of %s: want a branch, a tag or a commit: %w", revision, repo, ErrName)
	}
	return r, nil
}

func checkRepo(repo string) error {
	owner, name, slash := strings.Cut(repo, "/")
	if !slash && repoPart.MatchString(repo) {
		return fmt.Errorf("hub: repository %q has no owner; on today's hub names are owner/name: gpt2, say, is openai-community/gpt2: %w", repo, ErrName)
	}
	for _, part := range []string{owner, name} {
		if !repoPart.MatchString(part) || strings.Contains(part, "..") || strings.Contains(part, "--") {
			return fmt.Errorf("hub: repository %q: want owner/name of letters, digits and -_. as the hub's page shows it: %w", repo, ErrName)
		}
	}
	return nil
}

// checkPath refuses names of files that would lead out of their directory, mean something else on another system, or stand
// in the way of what the cache itself writes.
func checkPath(p string) error {
	if !fs.ValidPath(p) || p == "." || !filepath.IsLocal(filepath.FromSlash(p)) || strings.ContainsAny(p, `\:`) ||
		strings.ContainsFunc(p, unicode.IsControl) || strings.HasSuffix(p, partialSuffix) || strings.HasSuffix(p, etagSuffix) {
		return fmt.Errorf("hub: the server names a file %q: want a plain path inside the repository: %w", p, ErrName)
	}
	return nil
}
