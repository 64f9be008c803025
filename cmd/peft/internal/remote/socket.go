// Package remote lets a command work in the process that holds the registry: `peft serve` listens on a socket in the
// registry's directory, and a command that finds the registry held sends its command line there.
package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// Name of the socket in the registry's directory.
const Name = "peft.sock"

// longest path of a socket that every system takes, in bytes: Linux has room for 107, others for 103.
const longest = 103

// ErrNoServer reports that nothing answers at the registry's socket.
var ErrNoServer = errors.New("no server answers at the registry's socket")

// listen makes the socket, for its owner only, in the place of one that an ended server left. The caller holds the registry,
// so there is no other.
func listen(dir string) (*net.UnixListener, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if m := st.Mode().Perm(); m&0o022 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s has mode %#o: others could put a socket of theirs there; chmod go-w %s", dir, m, dir)
	}
	// It comes to its name with its mode: in a directory that only the owner enters, nobody connects before.
	private, err := os.MkdirTemp(dir, ".sock")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	l, err := bind(private)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name is another
	made := filepath.Join(private, Name)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, filepath.Join(dir, Name))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func bind(dir string) (*net.UnixListener, error) {
	path, done, err := short(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func dial(dir string) (*net.UnixConn, error) {
	path, done, err := short(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return c, nil
}

// short returns a path of dir's socket that a socket's address has room for, through a link where dir's own is too long,
// and what removes the link.
func short(dir string) (path string, done func(), err error) {
	if path = filepath.Join(dir, Name); len(path) <= longest {
		return path, func() {}, nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp("", "peft")
	if err != nil {
		return "", nil, err
	}
	link := filepath.Join(tmp, "r")
	if path = filepath.Join(link, Name); len(path) > longest {
		err = fmt.Errorf("socket %s: its path, and that of the directory for temporary files, is longer than the %d bytes that a socket's may have", path, longest)
	} else {
		err = os.Symlink(dir, link)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(tmp))
	}
	return path, func() { _ = os.RemoveAll(tmp) }, nil
}
