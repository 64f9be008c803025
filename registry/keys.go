package registry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Keys of the database:
//
//	h/NAMESPACE/NAME                 head: JSON {revision, last}
//	m/NAMESPACE/NAME/REVISION(%010d) manifest
//	c/NUMBER (8 bytes, big-endian)   chunk; numbers only ever grow
//	s/SHA-256 (32 raw bytes)         where the chunk of that sum is: its number (8 bytes, big-endian), or the number of a
//	                                 pack, the offset in it and the size (8, 8 and 4 bytes)
//	w/…                              intent: a write or removal that has not ended
//
// Chunks written one after the other lie side by side, above all older ones, so that Badger writes their bytes into its
// levels without merging them with what is there. By their sums they would fall anywhere, and a large set would have the
// whole database written again several times over, long after it was added.
const (
	headPrefix     = "h/"
	manifestPrefix = "m/"
	chunkPrefix    = "c/"
	sumPrefix      = "s/"
	intentPrefix   = "w/"
)

func headKey(ns, name string) []byte { return []byte(headPrefix + ns + "/" + name) }

// splitHead is the inverse of headKey.
func splitHead(key string) (ns, name string, ok bool) {
	return strings.Cut(strings.TrimPrefix(key, headPrefix), "/")
}

func manifestsOf(ns, name string) []byte { return []byte(manifestPrefix + ns + "/" + name + "/") }

func manifestKey(ns, name string, rev int) []byte {
	return fmt.Appendf(nil, "%s%s/%s/%010d", manifestPrefix, ns, name, rev)
}

func chunkKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(chunkPrefix), number)
}

func sumKey(s Sum) []byte { return append([]byte(sumPrefix), s[:]...) }

// numberOf reads the number of a chunk from its key, or from the value of a sum's key.
func numberOf(b []byte) (uint64, error) {
	b = bytes.TrimPrefix(b, []byte(chunkPrefix))
	if len(b) != 8 {
		return 0, fmt.Errorf("a chunk's number has %d bytes, want 8: %w", len(b), ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b), nil
}

// ParseRef splits "name" or "name@rev"; rev is 0 (the head) when absent. The error wraps ErrName.
func ParseRef(s string) (name string, rev int, err error) {
	name, r, has := strings.Cut(s, "@")
	if err := CheckName(name); err != nil {
		return "", 0, err
	}
	if has {
		if rev, err = strconv.Atoi(r); err != nil || rev < 1 {
			return "", 0, fmt.Errorf("%q: want NAME@REVISION with a revision from 1: %w", s, ErrName)
		}
	}
	return name, rev, nil
}
