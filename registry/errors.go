package registry

import "errors"

var (
	// ErrLocked reports that another process holds the registry's directory.
	ErrLocked = errors.New("registry is in use by another process")
	// ErrNotFound reports a name or revision that the registry does not have.
	ErrNotFound = errors.New("not found in the registry")
	// ErrCorrupt reports bytes that do not match their checksum, or a chunk that a manifest names and the database lacks.
	ErrCorrupt = errors.New("registry is corrupt")
	// ErrName reports a name that cannot name an object.
	ErrName = errors.New("invalid name")
	// ErrNoSpace reports that the disk holding the registry has too little room for a write.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrClosed reports use of a transaction, snapshot or registry after its end.
	ErrClosed = errors.New("already closed")
	// ErrConflict reports that an object's head moved between Begin and Commit, or that a target directory is not empty.
	ErrConflict = errors.New("conflict")
)
