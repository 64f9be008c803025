package hub

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrName reports a name of a repository, a revision or a file that cannot be one, or that would lead out of the cache.
	ErrName = errors.New("invalid name")
	// ErrNotFound reports a repository, revision or file that the hub or the cache does not have.
	ErrNotFound = errors.New("not found")
	// ErrDenied reports that the hub wants a token, another token, or its terms accepted.
	ErrDenied = errors.New("access denied")
	// ErrUnusable reports a repository without files that peft reads.
	ErrUnusable = errors.New("nothing that peft can use")
	// ErrChoice reports that several files or repositories fit and none was chosen.
	ErrChoice = errors.New("more than one fits")
	// ErrCorrupt reports bytes, or answers of the API, that are not what they must be.
	ErrCorrupt = errors.New("the hub sent something wrong")
	// ErrServer reports a hub that could not be reached or failed.
	ErrServer = errors.New("the hub failed")
	// ErrNoSpace reports that the disk holding the cache is full.
	ErrNoSpace = errors.New("not enough disk space")
)

// noSpace adds ErrNoSpace to the errors that mean it.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
