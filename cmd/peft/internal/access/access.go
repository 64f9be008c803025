// Package access keeps the API keys of a server in the registry and says what each may do.
//
// A key is `peft-NAME.SECRET`; the secret has 256 random bits and is shown once. The registry has its SHA-256, which is
// enough for a secret that nobody can guess: a slow hash is for passwords. Whoever presents a key names it, so that one
// look-up finds it, and what another process or command did to the keys holds from the next request on.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gopeft/peft/registry"
)

// Namespace of the registry that keys are in.
const Namespace = "keys"

var (
	// ErrDenied reports a key that is not valid. It never says why.
	ErrDenied = errors.New("the API key is not valid")
	// ErrExists reports a name that a key has already.
	ErrExists = errors.New("there is a key of that name already")
)

const (
	prefix      = "peft-"
	secretBytes = 32
)

// Rights are what a key may do.
type Rights struct {
	Admin             bool     `json:"admin,omitempty"`   // everything: change sets, run jobs, profile
	Metrics           bool     `json:"metrics,omitempty"` // read measurements, and nothing else
	Sets              []string `json:"sets,omitempty"`    // names and patterns (*, ?, [a-z]) of the sets it sees; none: all
	TokensPerMinute   int      `json:"tokens_per_minute,omitempty"`
	RequestsPerMinute int      `json:"requests_per_minute,omitempty"`
}

// check reports rights that contradict themselves or cannot be read.
func (r Rights) check() error {
	switch {
	case r.Admin && (r.Metrics || len(r.Sets) > 0):
		return errors.New("a key that may do everything sees all sets; make another for some of them")
	case r.Metrics && len(r.Sets) > 0:
		return errors.New("a key for metrics uses no sets")
	case r.TokensPerMinute < 0 || r.RequestsPerMinute < 0:
		return fmt.Errorf("%d tokens and %d requests a minute: want at least 1, or 0 for no limit", r.TokensPerMinute, r.RequestsPerMinute)
	}
	for _, p := range r.Sets {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("pattern %q of sets: want a name, or one with *, ? or [a-z]", p)
		}
	}
	return nil
}

// Sees reports whether a key with these rights sees the set of that name (without revision).
func (r Rights) Sees(set string) bool {
	return len(r.Sets) == 0 || slices.ContainsFunc(r.Sets, func(p string) bool {
		ok, err := path.Match(p, set)
		return ok && err == nil
	})
}

// Key is a key as the registry knows it.
type Key struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Rights
}

// record is what the registry keeps of a key.
type record struct {
	SHA256 string `json:"sha256"` // of the whole key
	Rights
}

// Add makes a key and returns it with its secret, which nothing can tell again.
func Add(ctx context.Context, db *registry.DB, name string, r Rights) (key *Key, secret string, err error) {
	if err := r.check(); err != nil {
		return nil, "", fmt.Errorf("key %s: %w", name, err)
	}
	b := make([]byte, secretBytes)
	_, _ = rand.Read(b) // does not fail
	secret = prefix + name + "." + base64.RawURLEncoding.EncodeToString(b)
	t, err := db.Begin(ctx, Namespace, name)
	if err != nil {
		return nil, "", fmt.Errorf("key %q: %w", name, err)
	}
	defer func() { err = errors.Join(err, t.Abort()) }()
	s := db.Snapshot() // after Begin: no other can add it meanwhile
	defer s.Close()
	if _, err := s.Manifest(Namespace, name, 0); !errors.Is(err, registry.ErrNotFound) {
		if err == nil {
			err = ErrExists
		}
		return nil, "", fmt.Errorf("key %s: %w", name, err)
	}
	m, err := t.Commit(record{digest(secret), r})
	if err != nil {
		return nil, "", fmt.Errorf("key %s: %w", name, err)
	}
	return &Key{name, m.Created, r}, secret, nil
}

// List returns the keys in order of name.
func List(db *registry.DB) ([]Key, error) {
	s := db.Snapshot()
	defer s.Close()
	keys := []Key{}
	for _, name := range s.Names(Namespace) {
		k, _, err := find(s, name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, *k)
	}
	return keys, nil
}

// Revoke removes a key. It holds from the next request on. The error wraps registry.ErrNotFound.
func Revoke(ctx context.Context, db *registry.DB, name string) error {
	if err := db.Remove(ctx, Namespace, name); err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return nil
}

// Any reports whether there are keys.
func Any(db *registry.DB) bool {
	s := db.Snapshot()
	defer s.Close()
	return len(s.Names(Namespace)) > 0
}

// Check returns the key that is presented with its secret. The error wraps ErrDenied when it is not valid.
func Check(db *registry.DB, secret string) (*Key, error) {
	rest, ok := strings.CutPrefix(secret, prefix)
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return nil, ErrDenied
	}
	s := db.Snapshot()
	defer s.Close()
	k, want, err := find(s, rest[:dot])
	switch {
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrName):
		return nil, ErrDenied
	case err != nil:
		return nil, err
	case subtle.ConstantTimeCompare([]byte(digest(secret)), []byte(want)) != 1:
		return nil, ErrDenied
	}
	return k, nil
}

func find(s *registry.Snapshot, name string) (k *Key, sum string, err error) {
	m, err := s.Manifest(Namespace, name, 0)
	if err != nil {
		return nil, "", fmt.Errorf("key %q: %w", name, err)
	}
	var rec record
	if err := json.Unmarshal(m.Meta, &rec); err != nil || len(rec.SHA256) != 2*sha256.Size {
		return nil, "", fmt.Errorf("key %s: its record cannot be read: %w", name, registry.ErrCorrupt)
	}
	return &Key{name, m.Created, rec.Rights}, rec.SHA256, nil
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
