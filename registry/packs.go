package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
)

// packList is the packs of one moment. A snapshot holds on to the list of its moment, so that it reads on from files
// that have been removed since. Guarded by DB.mu, but for open, which never changes.
type packList struct {
	open    map[uint64]*pack
	holders int // snapshots, and the registry while the list is the newest
}

// openPacks opens all packs on disk.
func (r *DB) openPacks() error {
	numbers, err := r.packNumbers()
	if err != nil {
		return err
	}
	open := make(map[uint64]*pack, len(numbers))
	for _, n := range numbers {
		f, err := os.Open(r.packFile(n))
		if err != nil {
			for _, p := range open {
				err = errors.Join(err, p.f.Close())
			}
			return err
		}
		open[n] = &pack{number: n, f: f}
		r.nextPack = max(r.nextPack, n+1)
	}
	r.setPacks(open)
	return nil
}

// addPack lists a pack that is on disk.
func (r *DB) addPack(w *packWriter) {
	open := maps.Clone(r.packs.open)
	open[w.number] = &pack{number: w.number, f: w.f}
	r.setPacks(open)
}

// dropPacks removes the packs that are not in use and returns how many there were. Open snapshots keep theirs.
func (r *DB) dropPacks(inUse map[uint64]bool) (int, error) {
	numbers, err := r.packNumbers()
	if err != nil {
		return 0, err
	}
	var idle []uint64
	for _, n := range numbers {
		if !inUse[n] {
			idle = append(idle, n)
		}
	}
	if len(idle) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	open, held := maps.Clone(r.packs.open), map[uint64]bool{}
	for _, n := range idle {
		if p := open[n]; p != nil {
			p.gone, held[n] = true, true
			delete(open, n)
		}
	}
	r.mu.Unlock()
	r.setPacks(open)
	for _, n := range idle {
		// Where a file in use cannot be removed, letting go of it does.
		if err := os.Remove(r.packFile(n)); err != nil && !errors.Is(err, fs.ErrNotExist) && !held[n] {
			return 0, fmt.Errorf("remove a pack: %w", err)
		}
	}
	return len(idle), nil
}

// setPacks makes open the newest list.
func (r *DB) setPacks(open map[uint64]*pack) {
	r.mu.Lock()
	old := r.packs
	for _, p := range open {
		p.lists++
	}
	r.packs = &packList{open: open, holders: 1}
	r.mu.Unlock()
	r.letGo(old)
}

// letGo ends one holder's use of a list and closes the packs that no list has any more.
func (r *DB) letGo(l *packList) {
	if l == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.holders--; l.holders > 0 {
		return
	}
	for _, p := range l.open {
		if p.lists--; p.lists > 0 {
			continue
		}
		// The file was only read since it was synced, and one that is gone may be gone already.
		_ = p.f.Close()
		if p.gone {
			_ = os.Remove(p.f.Name())
		}
	}
}

// packed returns what is stored at a place in a pack, in b's memory as far as it suffices.
func (s *Snapshot) packed(b []byte, at place) ([]byte, error) {
	p := s.packs.open[at.number]
	if p == nil {
		return nil, fmt.Errorf("pack "+packName+" is missing: %w", at.number, ErrCorrupt)
	}
	return p.read(b, at)
}
