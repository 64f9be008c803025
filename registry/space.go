package registry

import "fmt"

// reserve is the room Badger may take for its memtables' logs and a compaction beside the bytes of a write. Its files
// are mapped, and a mapped page that finds no room ends the process, so room is checked before and not after.
const reserve = 4 * memTable

// checkSpace reports ErrNoSpace when dir's disk has less than need bytes and the reserve.
func checkSpace(dir string, need int64) error {
	free, ok := freeBytes(dir)
	if want := need + reserve; ok && free < want {
		return fmt.Errorf("%s has %d MiB free, a write needs %d MiB; free some space or name another --registry: %w",
			dir, free>>20, (want+1<<20-1)>>20, ErrNoSpace)
	}
	return nil
}
