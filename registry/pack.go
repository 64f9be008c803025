package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// A pack is a file beside Badger's directory with the chunks of one large transaction, one after the other and nothing
// else. The tree would write each byte three times: into its log, a table of the first level, and one of the second.
//
// Badger has the sums and places of a pack's chunks, entered when the pack is on disk. So a pack that no sum leads to
// belongs to a transaction that never ended, and the sweep removes it. A pack is never changed, and goes when the last of
// its chunks does.
type pack struct {
	number uint64
	f      *os.File

	lists int  // of the lists that have it
	gone  bool // the file is to be removed when the last list lets go
}

const (
	packsDir  = "packs"
	packName  = "%016x.pack"
	packFrom  = memTable // bytes; a transaction that outgrows the tree's memory writes its further chunks into a pack
	packAhead = 32 << 20 // bytes; handed to the disk while the next ones are written
	packQueue = 4        // chunks that wait to be written
)

// place is where a chunk's bytes are: in the tree under its number, or in a pack.
type place struct {
	number uint64 // the chunk's, or the pack's
	packed bool
	offset int64 // within the pack
	size   int   // of a packed chunk
}

const packedBytes = 8 + 8 + 4

func (p place) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.number)
	if p.packed {
		b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
		b = binary.BigEndian.AppendUint32(b, uint32(p.size))
	}
	return b
}

// placeOf reads the value of a sum's key.
func placeOf(b []byte) (p place, err error) {
	if len(b) != packedBytes {
		p.number, err = numberOf(b)
		return p, err
	}
	p = place{number: binary.BigEndian.Uint64(b), packed: true, offset: int64(binary.BigEndian.Uint64(b[8:])), size: int(binary.BigEndian.Uint32(b[16:]))}
	if p.offset < 0 || p.size < 1 || p.size > MaxChunk {
		return p, fmt.Errorf("a chunk of %d bytes at %d of a pack: %w", p.size, p.offset, ErrCorrupt)
	}
	return p, nil
}

func (r *DB) packFile(number uint64) string {
	return filepath.Join(r.dir, packsDir, fmt.Sprintf(packName, number))
}

// packNumbers lists the packs that are on disk, whether anything leads to them or not.
func (r *DB) packNumbers() ([]uint64, error) {
	files, err := os.ReadDir(filepath.Join(r.dir, packsDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var numbers []uint64
	for _, f := range files {
		var n uint64
		if _, err := fmt.Sscanf(f.Name(), packName, &n); err == nil && f.Name() == fmt.Sprintf(packName, n) {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// packWriter writes a new pack. It is for one goroutine; that one hashes while two others write and sync.
type packWriter struct {
	number uint64
	f      *os.File
	size   int64
	chunks []packed // in the order written

	todo, free chan []byte   // bytes to append, and memory for more
	broken     chan struct{} // closed when err is set
	err        error         // of writing
	synced     chan error    // one value, after todo is closed
}

// packed is a chunk of a new pack.
type packed struct {
	sum Sum
	at  place
}

func (r *DB) newPack() (*packWriter, error) {
	dir := filepath.Join(r.dir, packsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := syncDir(r.dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.packFile(r.nextPack), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	w := &packWriter{number: r.nextPack, f: f, todo: make(chan []byte, packQueue), free: make(chan []byte, packQueue),
		broken: make(chan struct{}), synced: make(chan error, 1)}
	r.nextPack++
	for range packQueue {
		w.free <- nil
	}
	goOn := make(chan struct{}, 1)
	go w.write(goOn)
	go func() { // an error is told once only, so none may be lost
		var errs error
		for range goOn {
			errs = errors.Join(errs, f.Sync())
		}
		w.synced <- errors.Join(errs, f.Sync())
	}()
	return w, nil
}

// write appends what is to do, and tells goOn now and then that the disk may.
func (w *packWriter) write(goOn chan<- struct{}) {
	defer close(goOn)
	ahead := 0
	for b := range w.todo {
		if w.err == nil {
			if _, w.err = w.f.Write(b); w.err != nil {
				if errors.Is(w.err, syscall.ENOSPC) {
					w.err = fmt.Errorf("%w: %w", ErrNoSpace, w.err)
				}
				close(w.broken)
			}
		}
		if ahead += len(b); ahead >= packAhead {
			ahead = 0
			select {
			case goOn <- struct{}{}:
			default: // the disk is behind
			}
		}
		w.free <- b
	}
}

// put appends a chunk. An error may be that of an earlier one.
func (w *packWriter) put(sum Sum, c []byte) error {
	select {
	case <-w.broken:
		return w.err
	case b := <-w.free:
		w.todo <- append(b[:0], c...)
	}
	w.chunks = append(w.chunks, packed{sum, place{number: w.number, packed: true, offset: w.size, size: len(c)}})
	w.size += int64(len(c))
	return nil
}

// sync ends the writing. When it returns without error the pack is on disk, with its name.
func (w *packWriter) sync() error {
	close(w.todo)
	return errors.Join(<-w.synced, w.err, syncDir(filepath.Dir(w.f.Name())))
}

// abandon ends the writing and removes the file.
func (w *packWriter) abandon() error {
	close(w.todo)
	<-w.synced
	return errors.Join(w.f.Close(), os.Remove(w.f.Name()))
}

// read returns a chunk's bytes as they are in the file, in b's memory as far as it suffices.
func (p *pack) read(b []byte, at place) ([]byte, error) {
	if cap(b) < at.size {
		b = make([]byte, at.size)
	}
	b = b[:at.size]
	if n, err := p.f.ReadAt(b, at.offset); n < at.size {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the file ends at %d: %w", at.offset+int64(n), ErrCorrupt)
		}
		return nil, fmt.Errorf("pack %s, %d bytes at %d: %w", filepath.Base(p.f.Name()), at.size, at.offset, err)
	}
	return b, nil
}

// syncDir makes the names in a directory durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
