package registry

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestReadAt reads pieces of all kinds, from several goroutines: whole chunks, parts of one, across several, at the end.
func TestReadAt(t *testing.T) {
	r := open(t, t.TempDir())
	want := noise(3, 3*MaxChunk+17)
	m := put(t, r, "x", map[string][]byte{"a": want}, nil)
	s := r.Snapshot()
	defer s.Close()
	p, _ := m.Part("a")
	rd := s.Open(p)
	if rd.Size() != int64(len(want)) {
		t.Errorf("size %d, want %d", rd.Size(), len(want))
	}
	pieces := [][2]int{{0, len(want)}, {0, MaxChunk}, {MaxChunk, 2 * MaxChunk}, {5, 9}, {MaxChunk - 1, MaxChunk + 1}, {1, len(want)}, {len(want) - 17, len(want)}, {7, 7}}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		lo := rnd.IntN(len(want))
		pieces = append(pieces, [2]int{lo, lo + rnd.IntN(len(want)-lo+1)})
	}
	var wg sync.WaitGroup
	for _, at := range pieces {
		wg.Go(func() {
			b := make([]byte, at[1]-at[0])
			if n, err := rd.ReadAt(b, int64(at[0])); err != nil || n != len(b) || !bytes.Equal(b, want[at[0]:at[1]]) {
				t.Errorf("bytes %v: %d read, %v", at, n, err)
			}
		})
	}
	wg.Wait()
	b := make([]byte, 10)
	if n, err := rd.ReadAt(b, int64(len(want)-4)); n != 4 || !errors.Is(err, io.EOF) || !bytes.Equal(b[:4], want[len(want)-4:]) {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := rd.ReadAt(b, int64(len(want)+1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
}

// TestPartSize: a part whose manifest has another size than its chunks is damage, however it is read, and no memory is
// asked for by the manifest's word.
func TestPartSize(t *testing.T) {
	r := open(t, t.TempDir())
	m := put(t, r, "x", map[string][]byte{"a": noise(4, 100)}, nil)
	s := r.Snapshot()
	defer s.Close()
	p, _ := m.Part("a")
	for _, size := range []int64{99, 101, 1 << 60} {
		p.Size = size
		if n := s.Open(p).Size(); n != 0 {
			t.Errorf("size %d passes as %d", size, n)
		}
		if _, err := s.ReadPart(p); !errors.Is(err, ErrCorrupt) {
			t.Errorf("size %d: whole: %v", size, err)
		}
		if _, err := io.ReadAll(s.Open(p)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("size %d: in pieces: %v", size, err)
		}
	}
}
