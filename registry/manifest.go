package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// MaxChunk is the largest chunk in bytes. Larger values would leave Badger's tree for its value log, which does not
// notice damaged bytes.
const MaxChunk = 512 << 10

const (
	manifestFormat = 1
	refBytes       = sha256.Size + 4
	indexRefs      = MaxChunk / refBytes // references in one index chunk
	maxParts       = 1 << 16
)

// Sum is the SHA-256 of a chunk; in JSON it is lower-case hexadecimal.
type Sum [sha256.Size]byte

// String returns the sum in hexadecimal.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(s)) {
		return fmt.Errorf("a SHA-256 has %d hexadecimal digits, got %d: %w", hex.EncodedLen(len(s)), len(b), ErrCorrupt)
	}
	if _, err := hex.Decode(s[:], b); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// Ref names one chunk.
type Ref struct {
	SHA256 Sum `json:"sha256"`
	Size   int `json:"size"` // bytes, 1 to MaxChunk
}

// Part is one named sequence of chunks. The chunks' references are themselves stored in index chunks, so that a
// manifest stays small for an object of gigabytes.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes over all chunks
	Chunks int    `json:"chunks"` // number of chunks
	Index  []Ref  `json:"index"`  // chunks that hold the references
}

// Manifest describes one immutable revision of an object.
type Manifest struct {
	Format    int             `json:"format"`
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Revision  int             `json:"revision"` // from 1
	Parent    int             `json:"parent"`   // the revision it was made from; 0 for none
	Created   time.Time       `json:"created"`
	Meta      json.RawMessage `json:"meta,omitempty"` // the owner's record
	Parts     []Part          `json:"parts"`
}

// Size returns the bytes of all parts.
func (m *Manifest) Size() int64 {
	var n int64
	for _, p := range m.Parts {
		n += p.Size
	}
	return n
}

// Part returns the part of that name.
func (m *Manifest) Part(name string) (Part, bool) {
	for _, p := range m.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return Part{}, false
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CheckName reports whether name can name an object: 1 to 100 letters, digits, '.', '_' or '-', the first a letter or
// digit. So '+', '@', ',' and '/' stay free for lists of sets and revisions. The error wraps ErrName.
func CheckName(name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("name %q: want 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit: %w", name, ErrName)
	}
	return nil
}

// encodeManifest returns the stored form: SHA-256 of the JSON, then the JSON.
func encodeManifest(m *Manifest) ([]byte, error) {
	j, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("registry: manifest of %s: %w", m.Name, err)
	}
	s := sha256.Sum256(j)
	return append(s[:], j...), nil
}

// decodeManifest reads the stored form and checks its sum and its sense.
func decodeManifest(b []byte) (*Manifest, error) {
	if len(b) < sha256.Size {
		return nil, fmt.Errorf("manifest of %d bytes is truncated: %w", len(b), ErrCorrupt)
	}
	j := b[sha256.Size:]
	if s := sha256.Sum256(j); !bytes.Equal(s[:], b[:sha256.Size]) {
		return nil, fmt.Errorf("manifest does not match its checksum: %w", ErrCorrupt)
	}
	return parseManifest(j)
}

// parseManifest reads a manifest's JSON and checks that its fields make sense together.
func parseManifest(j []byte) (*Manifest, error) {
	m := new(Manifest)
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", ErrCorrupt, err)
	}
	bad := func(format string, a ...any) (*Manifest, error) {
		return nil, fmt.Errorf("manifest of %s/%s: %s: %w", m.Namespace, m.Name, fmt.Sprintf(format, a...), ErrCorrupt)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("manifest of %s/%s has format %d, this program reads %d; it was probably written by a newer peft: %w",
			m.Namespace, m.Name, m.Format, manifestFormat, ErrCorrupt)
	}
	if CheckName(m.Namespace) != nil || CheckName(m.Name) != nil {
		return bad("invalid name")
	}
	if m.Revision < 1 || m.Parent < 0 || m.Parent >= m.Revision {
		return bad("revision %d with parent %d", m.Revision, m.Parent)
	}
	if len(m.Parts) > maxParts {
		return bad("%d parts, at most %d", len(m.Parts), maxParts)
	}
	seen := make(map[string]bool, len(m.Parts))
	for _, p := range m.Parts {
		if seen[p.Name] {
			return bad("part %q twice", p.Name)
		}
		seen[p.Name] = true
		if err := p.check(); err != nil {
			return bad("%v", err)
		}
	}
	return m, nil
}

func (p *Part) check() error {
	if p.Chunks < 0 || p.Size < int64(p.Chunks) || p.Size > int64(p.Chunks)*MaxChunk {
		return fmt.Errorf("part %q has %d bytes in %d chunks", p.Name, p.Size, p.Chunks)
	}
	left := p.Chunks
	for i, r := range p.Index {
		if r.Size <= 0 || r.Size > MaxChunk || r.Size%refBytes != 0 {
			return fmt.Errorf("part %q: index chunk %d of %d bytes", p.Name, i, r.Size)
		}
		left -= r.Size / refBytes
	}
	if left != 0 {
		return fmt.Errorf("part %q names %d chunks, its index holds %d", p.Name, p.Chunks, p.Chunks-left)
	}
	return nil
}

func encodeRefs(refs []Ref) []byte {
	b := make([]byte, 0, len(refs)*refBytes)
	for _, r := range refs {
		b = append(b, r.SHA256[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Size))
	}
	return b
}

func decodeRefs(b []byte) ([]Ref, error) {
	if len(b)%refBytes != 0 {
		return nil, fmt.Errorf("index chunk of %d bytes is no multiple of %d: %w", len(b), refBytes, ErrCorrupt)
	}
	refs := make([]Ref, len(b)/refBytes)
	for i := range refs {
		e := b[i*refBytes:]
		copy(refs[i].SHA256[:], e)
		refs[i].Size = int(binary.LittleEndian.Uint32(e[sha256.Size:]))
		if refs[i].Size < 1 || refs[i].Size > MaxChunk {
			return nil, fmt.Errorf("index names a chunk of %d bytes, want 1 to %d: %w", refs[i].Size, MaxChunk, ErrCorrupt)
		}
	}
	return refs, nil
}
