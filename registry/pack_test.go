package registry

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// openPacked opens a registry whose transactions use a pack from the second MaxChunk bytes on.
func openPacked(t testing.TB, dir string) *DB {
	r := open(t, dir)
	r.packFrom = MaxChunk
	return r
}

func packFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, packsDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func verified(t testing.TB, r *DB) *Report {
	t.Helper()
	rep, err := r.Verify(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestPackIsReadBackSharedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	a, b := noise(1, 4*MaxChunk+17), noise(2, 3*MaxChunk)
	func() {
		r, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r.packFrom = MaxChunk
		put(t, r, "x", map[string][]byte{"a": a, "b": []byte("same")}, nil)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	if n := len(packFiles(t, dir)); n != 1 {
		t.Fatalf("%d packs, want 1", n)
	}
	r := openPacked(t, dir)
	put(t, r, "x", map[string][]byte{"a": a, "b": []byte("other")}, nil)
	if n := len(packFiles(t, dir)); n != 1 {
		t.Errorf("%d packs after a revision with the same bytes, want 1", n)
	}
	put(t, r, "y", map[string][]byte{"a": a, "b": b}, nil)
	if n := len(packFiles(t, dir)); n != 2 {
		t.Errorf("%d packs, want 2", n)
	}
	old := r.Snapshot()
	defer old.Close()
	m, err := old.Manifest("sets", "y", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(ctx, "sets", "y"); err != nil {
		t.Fatal(err)
	}
	if n := len(packFiles(t, dir)); n != 1 {
		t.Errorf("%d packs after the second's only object was removed, want 1", n)
	}
	if !bytes.Equal(read(t, old, m, "b"), b) {
		t.Error("a snapshot taken before Remove lost its bytes")
	}
	verified(t, r)
	now := r.Snapshot()
	defer now.Close()
	if m, err = now.Manifest("sets", "x", 0); err != nil || !bytes.Equal(read(t, now, m, "a"), a) {
		t.Errorf("removing y took chunks that x has: %v", err)
	}
	if err := r.Remove(ctx, "sets", "x"); err != nil {
		t.Fatal(err)
	}
	if f := packFiles(t, dir); len(f) != 0 {
		t.Errorf("left after everything was removed: %v", f)
	}
	put(t, r, "y", map[string][]byte{"a": a, "b": b}, nil)
	verified(t, r)
}

func TestPackOfAbortedTransaction(t *testing.T) {
	dir := t.TempDir()
	r := openPacked(t, dir)
	x, err := r.Begin(ctx, "sets", "x")
	if err != nil {
		t.Fatal(err)
	}
	w, err := x.Part("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(1, 5*MaxChunk)); err != nil {
		t.Fatal(err)
	}
	if n := len(packFiles(t, dir)); n != 1 {
		t.Fatalf("%d packs within the transaction, want 1", n)
	}
	if err := x.Abort(); err != nil {
		t.Fatal(err)
	}
	if f := packFiles(t, dir); len(f) != 0 {
		t.Errorf("left by an aborted transaction: %v", f)
	}
	put(t, r, "x", map[string][]byte{"a": noise(1, 5*MaxChunk)}, nil)
	verified(t, r)
}

func TestDamagedPack(t *testing.T) {
	for name, damage := range map[string]func(file string, b []byte) error{
		"flipped":   func(f string, b []byte) error { b[len(b)/2] ^= 4; return os.WriteFile(f, b, 0o600) },
		"truncated": func(f string, b []byte) error { return os.WriteFile(f, b[:len(b)-MaxChunk-9], 0o600) },
		"empty":     func(f string, _ []byte) error { return os.WriteFile(f, nil, 0o600) },
		"missing":   func(f string, _ []byte) error { return os.Remove(f) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			func() {
				r, err := Open(dir, Options{})
				if err != nil {
					t.Fatal(err)
				}
				r.packFrom = MaxChunk
				put(t, r, "x", map[string][]byte{"a": noise(1, 6*MaxChunk)}, nil)
				r.packFrom = packFrom
				put(t, r, "y", map[string][]byte{"a": noise(2, 6*MaxChunk)}, nil)
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}()
			f := packFiles(t, dir)
			if len(f) != 1 {
				t.Fatal(f)
			}
			b, err := os.ReadFile(f[0])
			if err == nil {
				err = damage(f[0], b)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := openPacked(t, dir)
			rep, err := r.Verify(ctx, nil)
			if !errors.Is(err, ErrCorrupt) || len(rep.Problems) == 0 {
				t.Errorf("verify: %+v, %v", rep, err)
			}
			s := r.Snapshot()
			defer s.Close()
			for name, want := range map[string]error{"x": ErrCorrupt, "y": nil} {
				m, err := s.Manifest("sets", name, 0)
				if err == nil {
					p, _ := m.Part("a")
					_, err = s.ReadPart(p)
				}
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			}
		})
	}
}

func TestPackBackupRestore(t *testing.T) {
	r := openPacked(t, t.TempDir())
	a, b := noise(1, 4*MaxChunk), noise(2, 2*MaxChunk)
	put(t, r, "x", map[string][]byte{"a": a, "b": []byte("one")}, nil)
	put(t, r, "x", map[string][]byte{"a": a, "b": b}, nil)
	var buf bytes.Buffer
	if err := r.Backup(&buf); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	if _, err := Restore(ctx, to, &buf); err != nil {
		t.Fatal(err)
	}
	c := openPacked(t, to)
	put(t, c, "y", map[string][]byte{"a": noise(3, 4*MaxChunk), "b": b}, nil)
	verified(t, c)
	s := c.Snapshot()
	defer s.Close()
	h, err := s.History("sets", "x")
	if err != nil || len(h) != 2 || !bytes.Equal(read(t, s, h[0], "a"), a) || !bytes.Equal(read(t, s, h[1], "b"), b) {
		t.Errorf("restored history %v, %v", h, err)
	}
}

// TestKilledPacks runs this test binary again and again, which commits large objects and prints their names until it is
// killed.
func TestKilledPacks(t *testing.T) {
	if dir := os.Getenv("REGISTRY_TEST_PACKS"); dir != "" {
		r := openPacked(t, dir)
		for i := 0; ; i++ {
			name := fmt.Sprintf("x%d-%d", os.Getpid(), i)
			b := make([]byte, 24*MaxChunk)
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(os.Getpid()), byte(os.Getpid() >> 8)}).Read(b)
			put(t, r, name, map[string][]byte{"a": b}, nil)
			fmt.Println("committed", name)
			if i%3 == 2 {
				if err := r.Remove(ctx, "sets", name); err != nil {
					t.Fatal(err)
				}
				fmt.Println("removed", name)
			}
		}
	}
	dir := t.TempDir()
	var want []string
	within := 0 // a transaction that had begun its pack
	for range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledPacks$")
		cmd.Env = append(os.Environ(), "REGISTRY_TEST_PACKS="+dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var timer *time.Timer
		dead := func() { _ = cmd.Process.Kill() }
		start := time.AfterFunc(time.Minute, dead)
		maybe := ""
		for lines.Scan() {
			did, name, _ := strings.Cut(lines.Text(), " ")
			switch did {
			case "committed":
				want, maybe = append(want, name), name
			case "removed":
				want = slices.DeleteFunc(want, func(n string) bool { return n == name })
			default:
				t.Fatalf("the program says %q", lines.Text())
			}
			if timer == nil { // from the first on, the machine's pace is known to allow some
				timer = time.AfterFunc(time.Duration(rand.Int64N(int64(400*time.Millisecond))), dead)
			}
		}
		_ = cmd.Wait()
		start.Stop()
		files := len(packFiles(t, dir))
		r, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		verified(t, r)
		s := r.Snapshot()
		have := s.Names("sets")
		s.Close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		// What the kill kept from being said: the next object was committed, or the last one removed.
		slices.Sort(want)
		if more := slices.DeleteFunc(slices.Clone(have), func(n string) bool { return slices.Contains(want, n) }); len(more) == 1 {
			want = append(want, more[0])
		} else if !slices.Contains(have, maybe) {
			want = slices.DeleteFunc(want, func(n string) bool { return n == maybe })
		}
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Fatalf("the registry has %v, acknowledged were %v", have, want)
		}
		left := len(packFiles(t, dir))
		if left != len(want) {
			t.Fatalf("%d packs for %d objects", left, len(want))
		}
		if files > left {
			within++
		}
	}
	t.Logf("%d of 15 kills within a transaction with a pack", within)
	if within == 0 {
		t.Error("no kill left a pack to sweep")
	}
}

// TestPackOnFullDisk fills a small disk with a large object.
func TestPackOnFullDisk(t *testing.T) {
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", mnt).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk (needs root on Linux): %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", mnt).Run() })
	dir := filepath.Join(mnt, "registry")
	r := openPacked(t, dir)
	kept := noise(1, 5*MaxChunk)
	put(t, r, "kept", map[string][]byte{"a": kept}, nil)
	x, err := r.Begin(ctx, "sets", "large")
	if err != nil {
		t.Fatal(err)
	}
	w, err := x.Part("a")
	b := make([]byte, MaxChunk)
	rnd := rand.NewChaCha8([32]byte{})
	for i := 0; err == nil && i < 600; i++ {
		_, _ = rnd.Read(b)
		_, err = w.Write(b)
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("300 MiB on a disk of 260: %v", err)
	}
	if err := x.Abort(); err != nil {
		t.Fatal(err)
	}
	if f := packFiles(t, dir); len(f) != 1 {
		t.Errorf("packs %v", f)
	}
	verified(t, r)
	put(t, r, "more", map[string][]byte{"a": noise(2, 5*MaxChunk)}, nil)
}
