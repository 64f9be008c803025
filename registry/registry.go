package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/ristretto/v2/z"
)

const (
	memTable = 32 << 20 // bytes; one transaction holds at most 15 % of it, several chunks
	vlogFile = 64 << 20 // bytes; almost nothing goes there

	tableFile = 64 << 20 // bytes; each is synced, so a large set wants few
)

// DB is an open registry. Its methods may be called from several goroutines.
type DB struct {
	dir    string
	db     *badger.DB
	log    *logger
	writer chan struct{} // holds one token: one writer at a time
	swept  int

	next, nextPack uint64 // numbers of the next chunk and pack; the writer's
	packFrom       int64  // bytes of a transaction that go into the tree

	mu    sync.Mutex
	packs *packList // the newest; what it says stands still
}

// Options of Open.
type Options struct {
	// Warn receives what Badger has to say about trouble in the background; nil drops it.
	Warn func(msg string)
}

// Open opens the registry in dir, making it when absent, and sweeps what crashed writes left. Errors wrap ErrLocked
// when another process holds it and ErrCorrupt when a table fails its checksum.
func Open(dir string, o Options) (*DB, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("registry: make %s: %w", dir, err)
	}
	if err := checkSpace(dir, 0); err != nil {
		return nil, fmt.Errorf("registry: open %s: %w", dir, err)
	}
	log := &logger{warn: o.Warn}
	opt := badger.DefaultOptions(filepath.Join(dir, "db")).
		WithLogger(log).
		WithMetricsEnabled(false).
		WithSyncWrites(false). // chunks are synced once before their manifest, see Txn.Commit
		WithDetectConflicts(false).
		WithCompression(options.None). // rows of bf16 do not compress
		WithChecksumVerificationMode(options.OnTableRead).
		WithBlockCacheSize(0).
		WithMemTableSize(memTable).
		WithBaseTableSize(tableFile).
		WithBaseLevelSize(1 << 40). // one level below the first: chunks are written in order, so that little overlaps
		WithNumMemtables(3).
		WithNumCompactors(4).
		WithValueThreshold(MaxChunk + 64<<10). // everything stays in the tree, whose tables are checksummed
		WithValueLogFileSize(vlogFile)
	db, err := openBadger(opt)
	if err != nil {
		return nil, openError(dir, err)
	}
	r := &DB{dir: dir, db: db, log: log, writer: make(chan struct{}, 1), packFrom: packFrom}
	r.writer <- struct{}{}
	if err := r.openPacks(); err != nil {
		return nil, errors.Join(fmt.Errorf("registry: open %s: %w", dir, err), db.Close())
	}
	if r.next, err = r.firstFree(); err != nil {
		return nil, errors.Join(fmt.Errorf("registry: open %s: %w", dir, err), r.Close())
	}
	if err := r.recoverIntents(); err != nil {
		return nil, errors.Join(fmt.Errorf("registry: sweep %s: %w", dir, err), r.Close())
	}
	return r, nil
}

// openBadger opens again where a process was killed between making a log's file and giving it its size: Badger takes the
// empty file for a new one, which it does not expect, gives it its size and fails. Once for each file, it succeeds then.
func openBadger(opt badger.Options) (db *badger.DB, err error) {
	for range 8 {
		db, err = tryBadger(opt)
		if err == nil || !strings.Contains(err.Error(), z.NewFile.Error()) { // Badger does not wrap it
			break
		}
	}
	return db, err
}

// tryBadger turns a panic of Badger on damaged files into an error.
func tryBadger(opt badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return badger.Open(opt)
}

func openError(dir string, err error) error {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "directory lock"):
		who := ""
		if pid, e := os.ReadFile(filepath.Join(dir, "db", "LOCK")); e == nil {
			who = " (process " + strings.TrimSpace(string(pid)) + ")"
		}
		return fmt.Errorf("registry %s is held by another process%s; wait for it, stop it, or name another --registry: %w", dir, who, ErrLocked)
	case errors.Is(err, ErrCorrupt), strings.Contains(msg, "checksum"), strings.Contains(msg, "CHECKSUM"):
		return fmt.Errorf("registry %s: a file fails its checksum; restore a backup: %w: %w", dir, ErrCorrupt, err)
	}
	return fmt.Errorf("registry: open %s: %w", dir, err)
}

// Dir returns the registry's directory.
func (r *DB) Dir() string { return r.dir }

// Swept returns how many chunks, and packs of chunks, of crashed writes the Open that made r removed.
func (r *DB) Swept() int { return r.swept }

// sync makes what was written so far durable. Badger's own Sync leaves out the logs of memtables that are full but have
// not become tables yet.
func (r *DB) sync() error {
	logs, err := filepath.Glob(filepath.Join(r.dir, "db", "*.mem"))
	if err != nil {
		return err
	}
	for _, name := range logs {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) { // became a table, which Badger has synced
			continue
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return r.db.Sync()
}

// Close ends r. Snapshots and transactions must have ended before.
func (r *DB) Close() error {
	r.letGo(r.packs)
	if err := r.db.Close(); err != nil {
		return fmt.Errorf("registry: close %s: %w", r.dir, err)
	}
	return nil
}

// logger forwards Badger's warnings and errors and drops its news.
type logger struct{ warn func(string) }

func (l *logger) say(f string, a ...any) {
	if l.warn != nil {
		l.warn(strings.TrimSpace(fmt.Sprintf(f, a...)))
	}
}
func (l *logger) Errorf(f string, a ...any)   { l.say(f, a...) }
func (l *logger) Warningf(f string, a ...any) { l.say(f, a...) }
func (l *logger) Infof(string, ...any)        {}
func (l *logger) Debugf(string, ...any)       {}
