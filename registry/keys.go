package registry

import (
	"fmt"
	"strconv"
	"strings"
)

// Keys of the database:
//
//	h/NAMESPACE/NAME                 head: JSON {revision, last}
//	m/NAMESPACE/NAME/REVISION(%010d) manifest
//	c/SHA-256 (32 raw bytes)         chunk
//	w/…                              intent: a write or removal that has not ended
const (
	headPrefix     = "h/"
	manifestPrefix = "m/"
	chunkPrefix    = "c/"
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

func chunkKey(s Sum) []byte { return append([]byte(chunkPrefix), s[:]...) }

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
