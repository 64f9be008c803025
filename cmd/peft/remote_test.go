package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopeft/peft/cmd/peft/internal/remote"
)

// said is an output that is read while it is written.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await waits for a match in what was said.
func (s *said) await(t *testing.T, expr string) string {
	t.Helper()
	re := regexp.MustCompile(expr)
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if m := re.FindString(s.String()); m != "" {
			return m
		}
	}
	t.Fatalf("no %s in %q", expr, s.String())
	return ""
}

// served runs `peft serve` on a registry, with options, and returns its address, and what ends it and returns its exit code.
func served(t *testing.T, reg string, options ...string) (url string, end func() int) {
	t.Helper()
	return serving(t, append([]string{"--registry", reg, "serve", "--listen", "127.0.0.1:0"}, options...)...)
}

// serving runs a command line that serves, until the test or its caller ends it.
func serving(t *testing.T, args ...string) (url string, end func() int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var errs said
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"peft"}, args...), &said{}, &errs)
	}()
	end = sync.OnceValue(func() int {
		stop()
		return <-code
	})
	t.Cleanup(func() { end() })
	return errs.await(t, `https?://127\.0\.0\.1:\d+`), end
}

// TestServed: while a server holds the registry, the other commands do there what they do by themselves.
func TestServed(t *testing.T) {
	licence, err := filepath.Abs("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("tarn.txt", []byte(strings.Repeat("The tarn lies still. Nobody rows there in winter.\n", 120)), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := filepath.Join(dir, strings.Repeat("deep/", 25), "registry") // longer than a socket's address
	do := func(want int, args ...string) (string, string) {
		t.Helper()
		code, out, errs := call(t, append([]string{"--registry", reg}, args...)...)
		if code != want {
			t.Fatalf("peft %s: %d, want %d\n%s%s", strings.Join(args, " "), code, want, out, errs)
		}
		return out, errs
	}
	do(0, "init", "--background", licence, "--layers", "1,3", "--heads", "2", "--topk", "8", "--subkeys", "8") // little to compute
	train := []string{"finetune", "tarn", "--data", "tarn.txt", "--batch-tokens", "128", "--seq-len", "64", "--report-tokens", "0", "--checkpoint-every", "2", "--lr", "0.02"}
	do(0, append(train, "--steps", "6")...)
	url, end := served(t, reg)
	if st, err := os.Stat(filepath.Join(reg, remote.Name)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st, err)
	}

	out, errs := do(0, append(train, "--steps", "4", "--json")...)
	if !strings.Contains(out, `"revision":2`) || !strings.Contains(errs, "train tarn 4/4 steps") {
		t.Errorf("finetune: %q, %q", out, errs)
	}
	do(0, "add-experts", "more", "--data", "tarn.txt")
	do(0, "gate", "more")
	do(0, "prune", "tarn", "--keep", "0.5")
	do(0, "rollback", "tarn")
	do(0, "export", "tarn", "tarn.peft")
	do(0, "add-experts", "copy", "--from", "tarn.peft")
	do(0, "remove", "copy")
	do(0, "report")
	do(0, "backup", "all.backup")
	for _, f := range []string{"tarn.peft", "peft-report.html", "all.backup"} {
		if _, err := os.Stat(f); err != nil {
			t.Errorf("a command's file is not where it ran: %v", err)
		}
	}
	if r, err := http.Get(url + "/v1/models"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("models: %v", err)
	} else {
		r.Body.Close()
	}

	if err := os.WriteFile("peft.toml", []byte("[generate]\nmax-tokens = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	same := [][]string{
		{"list"}, {"list", "--json"}, {"show", "tarn"}, {"show", "nobody"}, {"history", "tarn", "--json"},
		{"generate", "The tarn", "--sets", "tarn"}, {"generate", "--json", "--", "--sets"}, {"generate", "x", "--top-p", "7"},
		{"eval", "--data", "tarn.txt", "--sets", "tarn*0.5,more", "--seq-len", "64", "--max-windows", "4"},
		{"logits", "--text", "a tarn", "--top", "3"},
		{"finetune", "tarn", "--data", "tarn.txt", "--steps", "0"}, {"prune", "tarn@1"},
	}
	rate := regexp.MustCompile(`"(tokens_per_second|first_token_seconds)":[^,}]*`)
	all := func() (got []string) {
		for _, args := range same {
			code, out, errs := call(t, append([]string{"--registry", reg}, args...)...)
			got = append(got, strings.Join(args, " ")+"\n"+string(rune('0'+code))+" "+rate.ReplaceAllString(out, "")+errs)
		}
		return got
	}
	through := all()

	t.Run("cancelled", func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		var errs said
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, slices.Concat([]string{"peft", "--registry", reg}, train, []string{"--steps", "100000"}), &said{}, &errs)
		}()
		errs.await(t, `train tarn \d+`)
		if _, errs := do(1, "remove", "tarn"); !strings.Contains(errs, "while finetune is under way") {
			t.Errorf("removing what is trained: %q", errs)
		}
		time.Sleep(500 * time.Millisecond) // for a checkpoint
		stop()
		if c := <-code; c != 1 || !strings.Contains(errs.String(), "interrupted") || !strings.Contains(errs.String(), "--resume") {
			t.Errorf("exit code %d, %q", c, errs.String())
		}
	})
	t.Run("other base", func(t *testing.T) {
		if _, errs := do(1, "--base", t.TempDir(), "list"); !strings.Contains(errs, "held by a server") {
			t.Errorf("%q", errs)
		}
		if _, errs := do(1, "--activations", "8", "list"); !strings.Contains(errs, "held by a server") {
			t.Errorf("%q", errs)
		}
		do(0, "--base", "builtin", "--threads", "1", "--activations", "16", "list")
	})
	t.Run("served twice", func(t *testing.T) {
		if _, errs := do(1, "serve"); !strings.Contains(errs, "held by another process") {
			t.Errorf("%q", errs)
		}
	})
	if code := end(); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	if _, err := os.Lstat(filepath.Join(reg, remote.Name)); !os.IsNotExist(err) {
		t.Errorf("the socket stayed: %v", err)
	}
	for i, got := range all() {
		if through[i] != got {
			t.Errorf("through the server:\n%s\nby itself:\n%s", through[i], got)
		}
	}
}
