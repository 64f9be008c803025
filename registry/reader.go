package registry

import (
	"fmt"
	"io"
	"sort"
	"sync"
)

// ReadPart returns a part's bytes whole.
func (s *Snapshot) ReadPart(p Part) ([]byte, error) {
	rd := s.Open(p)
	if err := rd.begin(); err != nil {
		return nil, err
	}
	b := make([]byte, p.Size)
	if _, err := rd.ReadAt(b, 0); err != nil && len(b) > 0 {
		return nil, err
	}
	return b, nil
}

// Open returns a reader over a part's bytes that holds one chunk at a time.
func (s *Snapshot) Open(p Part) *PartReader { return &PartReader{s: s, p: p} }

// PartReader reads a part chunk by chunk. ReadAt may be called from several goroutines.
type PartReader struct {
	s    *Snapshot
	p    Part
	once sync.Once
	refs []Ref
	ends []int64 // of the chunks within the part
	err  error   // of reading refs
	at   int64   // of the next Read
	buf  []byte  // what is left of the last chunk that Read took
	mem  []byte  // of that chunk, for the next one
}

// Size returns the part's size; 0 where its chunks do not make it up, and then reading says why.
func (r *PartReader) Size() int64 {
	if r.begin() != nil {
		return 0
	}
	return r.p.Size
}

// begin reads the list of chunks, whose sizes have to make up the part's.
func (r *PartReader) begin() error {
	r.once.Do(func() {
		if r.refs, r.err = r.s.Refs(r.p); r.err != nil {
			return
		}
		var end int64
		r.ends = make([]int64, len(r.refs))
		for i, ref := range r.refs {
			end += int64(ref.Size)
			r.ends[i] = end
		}
		if end != r.p.Size {
			r.err = fmt.Errorf("registry: part %q has %d bytes, its manifest says %d: %w", r.p.Name, end, r.p.Size, ErrCorrupt)
		}
	})
	return r.err
}

// chunk reads chunk i into b's memory, as far as it suffices.
func (r *PartReader) chunk(b []byte, i int) ([]byte, error) {
	b, err := r.s.chunk(b, r.refs[i])
	if err != nil {
		return nil, fmt.Errorf("registry: part %q: %w", r.p.Name, err)
	}
	return b, nil
}

// ReadAt implements io.ReaderAt. Chunks that lie in b whole are read straight into it; of others, the whole is read and
// checked for the piece.
func (r *PartReader) ReadAt(b []byte, off int64) (n int, err error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	for i := sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > off }); i < len(r.refs) && n < len(b); i++ {
		size := r.refs[i].Size
		skip := int(off + int64(n) - (r.ends[i] - int64(size)))
		if skip == 0 && len(b)-n >= size {
			if _, err := r.chunk(b[n:n+size:n+size], i); err != nil {
				return n, err
			}
			n += size
			continue
		}
		c, err := r.chunk(nil, i)
		if err != nil {
			return n, err
		}
		n += copy(b[n:], c[skip:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Read implements io.Reader.
func (r *PartReader) Read(b []byte) (int, error) {
	if err := r.begin(); err != nil {
		return 0, err
	}
	if len(r.buf) == 0 {
		i := sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > r.at })
		if i == len(r.refs) {
			return 0, io.EOF
		}
		c, err := r.chunk(r.mem, i)
		if err != nil {
			return 0, err
		}
		r.buf, r.mem = c, c
	}
	n := copy(b, r.buf)
	r.buf, r.at = r.buf[n:], r.at+int64(n)
	return n, nil
}
