package peft

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/adrg/xdg"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/builtin"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/hub"
)

// DefaultCache is the directory of pulled models when none is named: peft/hub in the user's cache directory.
func DefaultCache() string { return filepath.Join(xdg.CacheHome, "peft", "hub") }

// openCache returns the cache in a directory; empty for DefaultCache.
func openCache(dir string) *hub.Cache {
	if dir == "" {
		dir = DefaultCache()
	}
	return hub.OpenCache(dir)
}

// PullOptions of Pull.
type PullOptions struct {
	// Cache is the directory of pulled models; empty for DefaultCache.
	Cache string
	// Files are globs of the files to get, against the path or, without a slash, the name; empty for those that are needed.
	Files []string
	// Progress, when not nil, is told how many bytes are here.
	Progress func(Progress)
	// Warn, when not nil, is told of attempts that failed and of waiting for another pull.
	Warn func(msg string)
}

// BaseInfo describes the built-in base or what was pulled of one repository.
type BaseInfo struct {
	Name string `json:"name"` // that Options.Base takes
	Kind string `json:"kind"` // "builtin", "safetensors", "gguf", "adapter" or "other"
	// Architecture is the model's own word for it, such as "llama"; empty where no file says it.
	Architecture string     `json:"architecture,omitempty"`
	Bytes        int64      `json:"bytes"`
	Revisions    []string   `json:"revisions,omitempty"` // that it was pulled as, such as "main", the last one last
	Commit       string     `json:"commit,omitempty"`    // that they stood for
	Endpoint     string     `json:"endpoint,omitempty"`  // the hub
	Dir          string     `json:"dir,omitempty"`
	Pulled       *time.Time `json:"pulled,omitempty"`
	Files        []hub.File `json:"files,omitempty"`
}

// Pull downloads a model or an adapter, "owner/name" or "owner/name@revision", from the hub that the environment names:
// HF_ENDPOINT, by default https://huggingface.co, with the token HF_TOKEN where the repository wants one. What an earlier
// pull brought is kept. Errors wrap those of package hub: ErrName, ErrNotFound, ErrDenied, ErrUnusable, ErrChoice,
// ErrCorrupt, ErrServer and ErrNoSpace.
func Pull(ctx context.Context, ref string, o PullOptions) (*BaseInfo, error) {
	r, err := hub.ParseRef(ref)
	if err != nil {
		return nil, err
	}
	client, err := hub.FromEnvironment()
	if err != nil {
		return nil, err
	}
	p := hub.PullOptions{Files: o.Files, Warn: o.Warn}
	if o.Progress != nil {
		p.Progress = func(u hub.Progress) {
			o.Progress(Progress{Task: "pull " + r.Repo, Done: int(u.Done), Total: int(u.Total), Unit: "bytes", Note: u.File})
		}
	}
	s, err := openCache(o.Cache).Pull(ctx, client, r, p)
	if err != nil {
		return nil, err
	}
	info := pulledInfo(s)
	return &info, nil
}

// Bases lists the built-in base and what was pulled into a cache; empty for DefaultCache. Parts of the cache that cannot be
// read are left out and told of in the error, which comes beside the others.
func Bases(cache string) ([]BaseInfo, error) {
	var all []BaseInfo
	if data, err := builtin.GGUF(); err == nil {
		b := BaseInfo{Name: base.Builtin, Kind: base.Builtin, Bytes: int64(len(data))}
		if f, err := gguf.Parse(data); err == nil {
			b.Architecture, _ = gguf.Get[string](f, "general.architecture")
		}
		all = append(all, b)
	}
	pulled, err := openCache(cache).List()
	for _, s := range pulled {
		all = append(all, pulledInfo(s))
	}
	return all, err
}

// RemoveBase deletes what was pulled of a repository, all its revisions or of "name@revision" that one, from a cache (empty
// for DefaultCache). It returns the whole name and the bytes of the deleted files. Errors wrap hub.ErrNotFound or
// hub.ErrChoice.
func RemoveBase(ctx context.Context, cache, name string) (removed string, bytes int64, err error) {
	return openCache(cache).Remove(ctx, name)
}

func pulledInfo(s *hub.Snapshot) BaseInfo {
	return BaseInfo{Name: s.Repo, Kind: string(s.Kind), Architecture: architecture(s), Bytes: s.Bytes(), Revisions: s.Revisions, Commit: s.Commit,
		Endpoint: s.Endpoint, Dir: s.Dir(), Pulled: &s.Pulled, Files: s.Files}
}

// architecture reads what a model says of itself, whether or not peft knows it.
func architecture(s *hub.Snapshot) string {
	switch s.Kind {
	case hub.Safetensors:
		var config struct {
			ModelType string `json:"model_type"`
		}
		b, err := os.ReadFile(filepath.Join(s.Dir(), "config.json"))
		if err != nil || json.Unmarshal(b, &config) != nil {
			return ""
		}
		return config.ModelType
	case hub.GGUF:
		for _, f := range s.Files {
			g, err := gguf.Open(filepath.Join(s.Dir(), filepath.FromSlash(f.Path)))
			if err != nil {
				continue
			}
			arch, _ := gguf.Get[string](g, "general.architecture")
			if err := g.Close(); err == nil && arch != "" {
				return arch
			}
		}
	}
	return ""
}

// LocateBase returns the path that a reference to a base means, and its name where that is not the path's own: "builtin", a
// file, a directory, or else what was pulled under that name into a cache (empty for DefaultCache). Errors wrap
// base.ErrNotBase.
func LocateBase(cache, ref string) (path, name string, err error) {
	if ref == base.Builtin {
		return ref, "", nil
	}
	if _, err := os.Stat(ref); err == nil {
		return ref, "", nil
	}
	path, s, err := openCache(cache).Locate(ref)
	switch {
	case errors.Is(err, hub.ErrNotFound):
		advice := "peft pull OWNER/NAME downloads one"
		if r, err := hub.ParseRef(ref); err == nil {
			advice = "peft pull " + r.Repo + " downloads one of that name"
		}
		return "", "", fmt.Errorf("base %q is neither %s nor a file, a directory or a pulled base; %s: %w: %w", ref, base.Builtin, advice, base.ErrNotBase, err)
	case err != nil:
		return "", "", fmt.Errorf("base %q: %w: %w", ref, base.ErrNotBase, err)
	case s.Kind == hub.Adapter:
		return "", "", fmt.Errorf("base %q: %s is an adapter, in %s; a base is the model that it was trained on: %w", ref, s.Repo, s.Dir(), base.ErrNotBase)
	case path == s.Dir():
		name = s.Name()
	}
	return path, name, nil
}
