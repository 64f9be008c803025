package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var ctx = context.Background()

func open(t testing.TB, dir string) *DB {
	t.Helper()
	r, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func put(t testing.TB, r *DB, name string, parts map[string][]byte, meta any) *Manifest {
	t.Helper()
	x, err := r.Begin(ctx, "sets", name)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"a", "b", "c"} {
		if _, ok := parts[k]; !ok && k == "c" {
			continue
		}
		w, err := x.Part(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(parts[k]); err != nil {
			t.Fatal(err)
		}
	}
	m, err := x.Commit(meta)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t testing.TB, s *Snapshot, m *Manifest, part string) []byte {
	t.Helper()
	p, ok := m.Part(part)
	if !ok {
		t.Fatalf("no part %q", part)
	}
	b, err := s.ReadPart(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommitAndReadBack(t *testing.T) {
	dir := t.TempDir()
	a, b := noise(1, 3*MaxChunk+17), noise(2, 10)
	func() {
		r, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		put(t, r, "x", map[string][]byte{"a": a, "b": b}, map[string]int{"experts": 7})
	}()
	r := open(t, dir)
	s := r.Snapshot()
	defer s.Close()
	m, err := s.Manifest("sets", "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if m.Revision != 1 || m.Parent != 0 || m.Size() != int64(len(a)+len(b)) || string(m.Meta) != `{"experts":7}` {
		t.Errorf("manifest %+v", m)
	}
	if !bytes.Equal(read(t, s, m, "a"), a) || !bytes.Equal(read(t, s, m, "b"), b) {
		t.Error("bytes differ")
	}
	if got := s.Names("sets"); len(got) != 1 || got[0] != "x" {
		t.Errorf("names %v", got)
	}
	if rep, err := r.Verify(ctx, nil); err != nil || rep.Chunks != 4+1+1+1 {
		t.Errorf("verify: %+v, %v", rep, err)
	}
}

func TestRevisionsRollbackPruneRemove(t *testing.T) {
	r := open(t, t.TempDir())
	shared := noise(1, 1000)
	for i := range 4 {
		put(t, r, "x", map[string][]byte{"a": shared, "b": noise(uint64(10+i), 100)}, nil)
	}
	put(t, r, "y", map[string][]byte{"a": shared}, nil)
	if _, err := r.Rollback(ctx, "sets", "x", 2); err != nil {
		t.Fatal(err)
	}
	m := put(t, r, "x", map[string][]byte{"a": shared, "b": noise(20, 100)}, nil)
	if m.Revision != 5 || m.Parent != 2 {
		t.Errorf("after rollback to 2: revision %d, parent %d, want 5 and 2", m.Revision, m.Parent)
	}
	if _, err := r.Rollback(ctx, "sets", "x", 9); !errors.Is(err, ErrNotFound) {
		t.Errorf("rollback to 9: %v", err)
	}
	if err := r.Prune(ctx, "sets", "x", 2); err != nil {
		t.Fatal(err)
	}
	s := r.Snapshot()
	defer s.Close()
	h, err := s.History("sets", "x")
	if err != nil || len(h) != 2 || h[0].Revision != 4 || h[1].Revision != 5 {
		t.Fatalf("history after prune: %v, %v", h, err)
	}
	if err := r.Remove(ctx, "sets", "x"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, h[1], "a"); !bytes.Equal(got, shared) {
		t.Error("a snapshot taken before Remove lost its bytes")
	}
	now := r.Snapshot()
	defer now.Close()
	if _, err := now.Manifest("sets", "x", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed set: %v", err)
	}
	if _, err := now.Chunk(Ref{SHA256: sumOf(t, s, h[1], "b"), Size: 100}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("chunk of a removed set is still there: %v", err)
	}
	y, err := now.Manifest("sets", "y", 0)
	if err != nil || !bytes.Equal(read(t, now, y, "a"), shared) {
		t.Errorf("removing x took a chunk that y shares: %v", err)
	}
}

func sumOf(t *testing.T, s *Snapshot, m *Manifest, part string) Sum {
	p, _ := m.Part(part)
	refs, err := s.Refs(p)
	if err != nil {
		t.Fatal(err)
	}
	return refs[0].SHA256
}

func TestAbortLeavesNothing(t *testing.T) {
	r := open(t, t.TempDir())
	x, err := r.Begin(ctx, "sets", "x")
	if err != nil {
		t.Fatal(err)
	}
	w, err := x.Part("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(1, 100)); err != nil {
		t.Fatal(err)
	}
	if err := x.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Commit(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("commit after abort: %v", err)
	}
	s := r.Snapshot()
	defer s.Close()
	if n := s.Names("sets"); len(n) != 0 {
		t.Errorf("names %v", n)
	}
	put(t, r, "x", nil, nil) // the writer's turn was given back
}

func TestOneWriterAtATime(t *testing.T) {
	r := open(t, t.TempDir())
	x, err := r.Begin(ctx, "sets", "x")
	if err != nil {
		t.Fatal(err)
	}
	c, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.Begin(c, "sets", "y"); !errors.Is(err, context.Canceled) {
		t.Errorf("second writer: %v", err)
	}
	if err := x.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestNames(t *testing.T) {
	r := open(t, t.TempDir())
	for _, n := range []string{"", "a+b", "a@1", "a/b", ".a", "a b", strings.Repeat("x", 101), "é"} {
		if _, err := r.Begin(ctx, "sets", n); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", n, err)
		}
	}
	for in, want := range map[string]int{"a": 0, "a@3": 3, "a@0": -1, "a@": -1, "a@x": -1, "@1": -1} {
		name, rev, err := ParseRef(in)
		if want < 0 != (err != nil) || err == nil && (name != "a" || rev != want) {
			t.Errorf("ParseRef(%q) = %q, %d, %v", in, name, rev, err)
		}
	}
}

// TestSecondProcess runs this test binary again on a directory that is held.
func TestSecondProcess(t *testing.T) {
	if dir := os.Getenv("REGISTRY_TEST_HELD"); dir != "" {
		_, err := Open(dir, Options{})
		if errors.Is(err, ErrLocked) && strings.Contains(err.Error(), os.Getenv("REGISTRY_TEST_PID")) {
			os.Exit(7)
		}
		t.Fatalf("want ErrLocked naming the holder, got %v", err)
	}
	dir := t.TempDir()
	open(t, dir)
	cmd := exec.Command(os.Args[0], "-test.run=^TestSecondProcess$")
	cmd.Env = append(os.Environ(), "REGISTRY_TEST_HELD="+dir, "REGISTRY_TEST_PID="+pid())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v\n%s", err, out)
	}
}

func pid() string { b, _ := json.Marshal(os.Getpid()); return string(b) }

// TestKilledWrite runs this test binary again, which dies within a transaction.
func TestKilledWrite(t *testing.T) {
	if dir := os.Getenv("REGISTRY_TEST_DIE"); dir != "" {
		r, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, r, "kept", map[string][]byte{"a": noise(1, 5000)}, nil)
		x, err := r.Begin(ctx, "sets", "lost")
		if err != nil {
			t.Fatal(err)
		}
		w, err := x.Part("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(noise(2, 20*MaxChunk)); err != nil { // more than one of Badger's transactions
			t.Fatal(err)
		}
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		t.Fatal("not dead", err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWrite$")
	cmd.Env = append(os.Environ(), "REGISTRY_TEST_DIE="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || bytes.Contains(out, []byte("not dead")) {
		t.Fatalf("%v\n%s", err, out)
	}
	r := open(t, dir)
	if r.Swept() == 0 {
		t.Error("nothing swept")
	}
	s := r.Snapshot()
	defer s.Close()
	if n := s.Names("sets"); len(n) != 1 || n[0] != "kept" {
		t.Errorf("names %v", n)
	}
	if _, err := r.Verify(ctx, nil); err != nil {
		t.Error(err)
	}
	live, err := s.liveChunks()
	if err != nil {
		t.Fatal(err)
	}
	count := func(prefix string) (n int) {
		it := s.keys([]byte(prefix))
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return n
	}
	if c, sums := count(chunkPrefix), count(sumPrefix); c != len(live) || sums != len(live) {
		t.Errorf("%d chunks and %d sums, manifests name %d", c, sums, len(live))
	}
}

// TestKilledWhileMakingALog has the files that a process leaves which was killed before it gave a new log its size.
func TestKilledWhileMakingALog(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, r, "kept", map[string][]byte{"a": noise(1, 5000)}, nil)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00077.mem", "00078.mem", "000077.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, "db", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir)
	if rep, err := r.Verify(ctx, nil); err != nil || len(rep.Problems) > 0 {
		t.Fatal(rep, err)
	}
	put(t, r, "more", map[string][]byte{"a": noise(2, 5000)}, nil)
}

func TestFlippedBit(t *testing.T) {
	dir := t.TempDir()
	data := noise(1, 2<<20)
	func() {
		r, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		put(t, r, "x", map[string][]byte{"a": data}, nil)
	}()
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no tables", err)
	}
	found := false
	for _, f := range tables {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, data[1<<20:1<<20+64]); i >= 0 {
			found = true
			b[i+5] ^= 4
			if err := os.WriteFile(f, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !found {
		t.Fatal("the data is in no table")
	}
	r, err := Open(dir, Options{})
	if err == nil {
		_, err = r.Verify(ctx, nil)
		if e := r.Close(); e != nil {
			t.Error(e)
		}
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a flipped bit gave %v", err)
	}
	t.Log(err)
}

func TestMissingChunkIsCorruption(t *testing.T) {
	r := open(t, t.TempDir())
	m := put(t, r, "x", map[string][]byte{"a": noise(1, 100), "b": noise(2, 100), "c": noise(3, 100)}, nil)
	s := r.Snapshot()
	defer s.Close()
	sum := sumKey(sumOf(t, s, m, "b"))
	it, err := s.tx.Get(sum)
	if err != nil {
		t.Fatal(err)
	}
	number, err := it.ValueCopy(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := r.db.NewWriteBatch()
	if err := errors.Join(b.Delete(sumKey(sumOf(t, s, m, "a"))), b.Delete(append([]byte(chunkPrefix), number...)),
		b.Set(sumKey(sumOf(t, s, m, "c")), []byte("damaged")), b.Flush()); err != nil {
		t.Fatal(err)
	}
	now := r.Snapshot()
	defer now.Close()
	for _, name := range []string{"a", "b", "c"} {
		p, _ := m.Part(name)
		if _, err := now.ReadPart(p); !errors.Is(err, ErrCorrupt) {
			t.Errorf("missing chunk of %s: %v", name, err)
		}
	}
	rep, err := r.Verify(ctx, nil)
	if !errors.Is(err, ErrCorrupt) || len(rep.Problems) != 3 {
		t.Errorf("verify: %+v, %v", rep, err)
	}
}

func TestBackupRestore(t *testing.T) {
	r := open(t, t.TempDir())
	a := noise(1, 3<<20)
	put(t, r, "x", map[string][]byte{"a": a}, "one")
	put(t, r, "x", map[string][]byte{"a": a, "b": noise(2, 9)}, "two")
	var buf bytes.Buffer
	if err := r.Backup(&buf); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	if _, err := Restore(ctx, to, bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	c := open(t, to)
	s := c.Snapshot()
	defer s.Close()
	h, err := s.History("sets", "x")
	if err != nil || len(h) != 2 || !bytes.Equal(read(t, s, h[1], "a"), a) {
		t.Errorf("restored history %v, %v", h, err)
	}
	if _, err := Restore(ctx, to, bytes.NewReader(buf.Bytes())); !errors.Is(err, ErrConflict) {
		t.Errorf("restore onto a registry: %v", err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)*2/3] },
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"other":     func([]byte) []byte { return []byte("hello, this is something else altogether") },
		"short":     func(b []byte) []byte { return b[:len(backupMagic)+3] },
	} {
		to := filepath.Join(t.TempDir(), "to")
		_, err := Restore(ctx, to, bytes.NewReader(damage(bytes.Clone(buf.Bytes()))))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s backup: %v", name, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(to)); len(left) != 0 {
			t.Errorf("%s backup left %v", name, left)
		}
	}
}

// TestPartBytes: whatever is written in whatever pieces comes back.
func TestPartBytes(t *testing.T) {
	r := open(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		x, err := r.Begin(ctx, "sets", "p")
		if err != nil {
			t.Fatal(err)
		}
		w, err := x.Part("a")
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for _, c := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "pieces") {
			if _, err := w.Write(c); err != nil {
				t.Fatal(err)
			}
			want = append(want, c...)
		}
		m, err := x.Commit(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := r.Snapshot()
		defer s.Close()
		p, _ := m.Part("a")
		got, err := io.ReadAll(s.Open(p))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{Format: manifestFormat, Namespace: "sets", Name: "x", Revision: 2, Parent: 1,
		Parts: []Part{{Name: "a", Size: 5, Chunks: 1, Index: []Ref{{Size: refBytes}}}}}
	j, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j)
	f.Add([]byte(`{"format":1,"namespace":"sets","name":"x","revision":1,"parts":[{"name":"a","size":9e18,"chunks":99999999999}]}`))
	f.Fuzz(func(t *testing.T, j []byte) {
		m, err := parseManifest(j)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v does not wrap ErrCorrupt", err)
			}
			return
		}
		b, err := encodeManifest(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(b); err != nil {
			t.Fatalf("re-encoded: %v", err)
		}
	})
}
