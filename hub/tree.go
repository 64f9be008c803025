package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// File is one file of a repository.
type File struct {
	Path string `json:"path"` // with slashes; of files in the cache a plain path
	Size int64  `json:"size"` // bytes
	// SHA256 is of the bytes, in hexadecimal; files outside Git LFS have GitSHA1 instead, of the git blob.
	SHA256  string `json:"sha256,omitempty"`
	GitSHA1 string `json:"git_sha1,omitempty"`
}

const (
	maxPages = 1000
	maxFiles = 100_000
)

var (
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
	sha1Hex   = commitID
)

// address returns an address at the endpoint; parts are escaped here.
func (c *Client) address(parts ...string) *url.URL {
	var escaped []string
	for _, p := range parts {
		escaped = append(escaped, url.PathEscape(p))
	}
	return c.endpoint.JoinPath(escaped...)
}

// api returns an address of the API about a repository.
func (c *Client) api(repo, what, revision string) *url.URL {
	owner, name, _ := strings.Cut(repo, "/")
	return c.address("api", "models", owner, name, what, revision)
}

// fileURL is where a file's bytes are asked for.
func (c *Client) fileURL(repo, commit, path string) string {
	owner, name, _ := strings.Cut(repo, "/")
	return c.address(append([]string{owner, name, "resolve", commit}, strings.Split(path, "/")...)...).String()
}

// Commit returns the commit, 40 hexadecimal digits, that a revision stands for now.
func (c *Client) Commit(ctx context.Context, r Ref) (string, error) {
	var info struct {
		SHA string `json:"sha"`
	}
	if _, err := c.getJSON(ctx, c.api(r.Repo, "revision", r.Revision).String(), &info); err != nil {
		return "", err
	}
	if !commitID.MatchString(info.SHA) {
		return "", fmt.Errorf("hub: %s@%s is commit %q, want 40 hexadecimal digits: %w", r.Repo, r.Revision, info.SHA, ErrCorrupt)
	}
	return info.SHA, nil
}

// Tree lists all files of a repository at a commit, by the names that the server gives, which may be any. Errors wrap
// ErrCorrupt where it says things that cannot be.
func (c *Client) Tree(ctx context.Context, repo, commit string) ([]File, error) {
	next := c.api(repo, "tree", commit)
	next.RawQuery = "recursive=true"
	var all []File
	seen := map[string]bool{}
	for range maxPages {
		var page []json.RawMessage
		h, err := c.getJSON(ctx, next.String(), &page)
		if err != nil {
			return nil, err
		}
		for _, raw := range page {
			f, ok, err := parseEntry(raw)
			if err != nil {
				return nil, fmt.Errorf("hub: files of %s: %w", repo, err)
			}
			if !ok {
				continue
			}
			if seen[f.Path] {
				return nil, fmt.Errorf("hub: files of %s: %q is there twice: %w", repo, f.Path, ErrCorrupt)
			}
			seen[f.Path] = true
			all = append(all, f)
		}
		link := nextLink(h.Values("Link"))
		if link == "" {
			return all, nil
		}
		if len(all) > maxFiles {
			break
		}
		if next, err = next.Parse(link); err != nil {
			return nil, fmt.Errorf("hub: files of %s: next page %q: %w: %w", repo, link, ErrCorrupt, err)
		}
		if next.Scheme != c.endpoint.Scheme || next.Host != c.endpoint.Host {
			return nil, fmt.Errorf("hub: files of %s: the next page is at %s, want %s: %w", repo, next.Host, c.endpoint.Host, ErrCorrupt)
		}
	}
	return nil, fmt.Errorf("hub: files of %s: more than %d pages or %d files: %w", repo, maxPages, maxFiles, ErrCorrupt)
}

// parseEntry reads one entry of a tree; ok is false for directories.
func parseEntry(raw []byte) (f File, ok bool, err error) {
	var e struct {
		Type string
		Path string
		Size int64
		OID  string
		LFS  *struct {
			OID  string
			Size int64
		}
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return f, false, fmt.Errorf("entry %.80q: %w: %w", raw, ErrCorrupt, err)
	}
	if e.Type != "file" {
		return f, false, nil
	}
	f = File{Path: e.Path, Size: e.Size, GitSHA1: e.OID}
	if e.LFS != nil {
		// Some hubs write it with the name of the algorithm, as LFS pointers do.
		f = File{Path: e.Path, Size: e.LFS.Size, SHA256: strings.TrimPrefix(e.LFS.OID, "sha256:")}
	}
	if f.Size < 0 || f.SHA256 != "" && !sha256Hex.MatchString(f.SHA256) || f.GitSHA1 != "" && !sha1Hex.MatchString(f.GitSHA1) {
		return f, false, fmt.Errorf("entry %.200q: want a size and a checksum in hexadecimal: %w", raw, ErrCorrupt)
	}
	return f, true, nil
}

var linkNext = regexp.MustCompile(`<([^<>]*)>\s*(?:;[^,<>]*)?;\s*rel="?next"?`)

// nextLink returns the target of the Link header (RFC 8288) whose relation is "next", or nothing.
func nextLink(headers []string) string {
	for _, h := range headers {
		if m := linkNext.FindStringSubmatch(h); m != nil {
			return m[1]
		}
	}
	return ""
}
