// Package mapped maps files into memory to read them.
package mapped

import (
	"errors"
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

// ErrShort reports a file that cannot be what it should, for its size.
var ErrShort = errors.New("file too short")

// File is a file in memory, which all processes that map it share.
type File struct {
	b mmap.MMap
}

// Open maps a regular file of at least least bytes. Its error names the file.
func Open(path string, least int64) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() || st.Size() < least {
		return nil, fmt.Errorf("%s has %d bytes, want at least %d: %w", path, st.Size(), least, ErrShort)
	}
	m, err := mmap.Map(f, mmap.RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &File{m}, nil
}

// Bytes returns the content, until Close.
func (f *File) Bytes() []byte { return f.b }

// Forget lets go of the pages read so far, which count as this process's memory: what is read again comes from the
// system's cache, or the disk. It does nothing where the system has no such call.
func (f *File) Forget() {
	if len(f.b) > 0 {
		forget(f.b)
	}
}

// Close ends the mapping. A second call does nothing.
func (f *File) Close() error {
	if f.b == nil {
		return nil
	}
	b := f.b
	f.b = nil
	return b.Unmap()
}
