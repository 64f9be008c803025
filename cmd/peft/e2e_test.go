package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/base/basetest"
)

// These tests run the built program as people do. They take minutes: set PEFT_E2E=1.

// program is the built binary with a registry.
type program struct {
	t        testing.TB
	bin, dir string
	base     string
}

func newProgram(t testing.TB, base string) *program {
	t.Helper()
	if os.Getenv("PEFT_E2E") == "" {
		t.Skip("set PEFT_E2E=1 to run the built program")
	}
	p := &program{t: t, bin: filepath.Join(t.TempDir(), "peft"), dir: filepath.Join(t.TempDir(), "registry"), base: base}
	if out, err := exec.Command("go", "build", "-o", p.bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.bin, append([]string{"--registry", p.dir, "--base", p.base, "--json"}, args...)...)
	cmd.Dir = p.t.TempDir()
	return cmd
}

// run returns the JSON object that a command ends with.
func (p *program) run(args ...string) map[string]any {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("peft %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var v map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &v); err != nil {
		p.t.Fatalf("peft %s: %v in %q", strings.Join(args, " "), err, out.String())
	}
	return v
}

// fails runs a command that must fail with that exit code and a message with all the words.
func (p *program) fails(code int, words []string, args ...string) {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		p.t.Errorf("peft %s: %v, want exit code %d\n%s", strings.Join(args, " "), err, code, out)
		return
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			p.t.Errorf("peft %s says %q, want %q in it", strings.Join(args, " "), out, w)
		}
	}
}

func (p *program) file(name, content string) string {
	p.t.Helper()
	f := filepath.Join(p.t.TempDir(), name)
	if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// head returns a file with the first n bytes of a reference text.
func (p *program) head(name string, n int) string {
	b, err := os.ReadFile(basetest.Shared(p.t, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.file(filepath.Base(name), string(b[:min(n, len(b))]))
}

// TestE2EAlgebra shows on SmolLM2 that adding, training and removing sets changes nothing else, to the bit.
func TestE2EAlgebra(t *testing.T) {
	p := newProgram(t, basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
	a, b := p.head("data/shakespeare.txt", 20000), p.head("data/wikitext2-valid.txt", 20000)
	background := p.file("background.txt", string(must(os.ReadFile(p.head("data/gsm8k-train.jsonl", 60000))))) // JSON is text too
	logits := func(sets ...string) string {
		args := []string{"eval", "--data", a, "--seq-len", "128", "--max-windows", "2"}
		if len(sets) > 0 {
			args = append(args, "--sets", strings.Join(sets, ","))
		}
		return p.run(args...)["logits_sha256"].(string)
	}
	same := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: logits %s, want %s", what, got, want)
		}
	}
	bare := logits()
	router := p.run("init", "--background", background)
	same("off, after init", logits(), bare)
	added := p.run("add-experts", "a", "--data", a)
	same("a set of zeros", logits("a"), bare)
	train := []string{"--steps", "6", "--batch-tokens", "512", "--lr", "0.002"}
	first := p.run(append([]string{"finetune", "a", "--data", a}, train...)...)
	for _, r := range []map[string]any{added, first} {
		if r["router_sha256"] != router["router_sha256"] {
			t.Errorf("router %v, want %v", r["router_sha256"], router["router_sha256"])
		}
	}
	same("off, after training a", logits(), bare)
	onlyA := logits("a")
	if onlyA == bare {
		t.Error("the trained set changes nothing")
	}
	second := p.run(append([]string{"finetune", "b", "--data", b}, train...)...)
	same("a, after b was added and trained", logits("a"), onlyA)
	same("off, after b", logits(), bare)
	both := logits("a", "b")
	same("b and a in the other order", logits("b", "a"), both)
	if both == onlyA {
		t.Error("b changes nothing")
	}
	if second["base_fingerprint"] != router["base_fingerprint"] || second["router_sha256"] != router["router_sha256"] {
		t.Errorf("fingerprint or router changed: %v", second)
	}
	p.run("remove", "b")
	same("a, after b was removed", logits("a"), onlyA)
	p.run("remove", "a")
	same("off, after everything was removed", logits(), bare)
	p.run("verify")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestE2EKill kills add-experts and finetune at random moments and looks at what the registry holds then.
func TestE2EKill(t *testing.T) {
	p := newProgram(t, "builtin")
	data := p.head("data/shakespeare.txt", 30000)
	p.run("init")
	finetune := func(name string) []string {
		return []string{"finetune", name, "--data", data, "--steps", "60", "--batch-tokens", "256", "--seq-len", "64", "--checkpoint-every", "3"}
	}
	timed := func(args ...string) time.Duration {
		start := time.Now()
		p.run(args...)
		return time.Since(start)
	}
	adding, training := timed("add-experts", "long", "--data", data), timed(finetune("long")...)
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	have := map[string]int{"long": 2} // revisions that were acknowledged
	killed, resumed := 0, 0
	for i := 0; killed < 40 && i < 200; i++ {
		name := "long"
		args, limit := finetune(name), training
		switch i % 4 {
		case 0, 2:
			name = fmt.Sprintf("s%d", i)
			args, limit = []string{"add-experts", name, "--data", data}, adding
		case 1:
			name = fmt.Sprintf("new%d", i)
			args, limit = finetune(name), adding+training
		}
		acknowledged, hit := p.kill(time.Duration(rnd.Int64N(int64(limit))), args...)
		if acknowledged > 0 {
			have[name] = acknowledged
		}
		if !hit {
			continue
		}
		killed++
		p.run("verify")
		holds := map[string]int{}
		for _, s := range p.run("list")["sets"].([]any) {
			s := s.(map[string]any)
			holds[s["name"].(string)] = int(s["revision"].(float64))
		}
		// A kill between the commit and the printed result leaves one revision more than was acknowledged, never less.
		if holds[name] == have[name]+1 {
			have[name]++
		}
		if !maps.Equal(holds, have) {
			t.Fatalf("after kill %d of %v the registry holds %v, acknowledged was %v", killed, args, holds, have)
		}
		if name == "long" && resumed < 3 {
			if out, err := p.command(append(args, "--resume")...).CombinedOutput(); err == nil {
				resumed++
				have[name]++
			} else if !strings.Contains(string(out), "no checkpoint") && !strings.Contains(string(out), "does not fit") {
				t.Fatalf("resume: %v\n%s", err, out)
			}
		}
	}
	t.Logf("%d kills, %d runs resumed after one", killed, resumed)
	if killed < 40 || resumed == 0 {
		t.Errorf("%d kills hit, %d runs could be resumed", killed, resumed)
	}
}

// kill runs a command and kills it after so long. It returns the revision that the command printed, 0 for none, and
// whether the kill hit.
func (p *program) kill(after time.Duration, args ...string) (revision int, hit bool) {
	cmd := p.command(args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() > 0 {
		p.t.Fatalf("peft %v failed by itself: %v", args, err)
	}
	var r struct{ Revision int }
	if json.Unmarshal(bytes.TrimSpace(out.Bytes()), &r) == nil {
		revision = r.Revision
	}
	return revision, err != nil
}

// TestE2EFullDisk adds sets on a small disk until it is full.
func TestE2EFullDisk(t *testing.T) {
	p := newProgram(t, "builtin")
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", mnt).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a small disk (needs root on Linux): %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", mnt).Run() })
	p.dir = filepath.Join(mnt, "registry")
	data := p.head("data/shakespeare.txt", 30000)
	p.run("add-experts", "a", "--data", data)
	fill := make([]byte, 1<<20)
	f, err := os.Create(filepath.Join(mnt, "fill"))
	for err == nil {
		_, err = f.Write(fill)
	}
	if err := f.Close(); err != nil {
		t.Log(err)
	}
	p.fails(1, []string{"space"}, "add-experts", "b", "--data", data)
	if err := os.Remove(filepath.Join(mnt, "fill")); err != nil {
		t.Fatal(err)
	}
	p.run("verify")
	if sets := p.run("list")["sets"].([]any); len(sets) != 1 {
		t.Errorf("sets %v", sets)
	}
	p.run("add-experts", "b", "--data", data)
}

// TestE2EBadInput goes through wrong command lines and files.
func TestE2EBadInput(t *testing.T) {
	p := newProgram(t, "builtin")
	good := p.file("good.txt", strings.Repeat("Some plain words to learn, line after line.\n", 200))
	p.run("add-experts", "a", "--data", good)
	gguf := must(os.ReadFile(filepath.Join("..", "..", "base", "builtin", "model", "base.gguf")))
	other := *p
	other.base = p.file("truncated.gguf", string(gguf[:len(gguf)/2]))
	other.fails(1, []string{"truncated"}, "generate", "x")
	other.base = p.file("nonsense.gguf", strings.Repeat("nonsense", 100))
	other.fails(1, []string{"GGUF"}, "generate", "x")
	other.base = filepath.Join(t.TempDir(), "absent.gguf")
	other.fails(1, []string{"absent.gguf"}, "generate", "x")
	other.base = t.TempDir()
	other.fails(1, []string{"config.json"}, "generate", "x")
	for _, c := range []struct {
		code  int
		words []string
		args  []string
	}{
		{2, []string{"no command"}, []string{"frobnicate"}},
		{2, []string{"flag"}, []string{"list", "--frobnicate"}},
		{2, []string{"want NAME"}, []string{"add-experts", "--data", good}},
		{2, []string{"either"}, []string{"add-experts", "x"}},
		{1, []string{"already"}, []string{"add-experts", "a", "--data", good}},
		{1, []string{"name"}, []string{"add-experts", "a+b", "--data", good}},
		{1, []string{"kind"}, []string{"add-experts", "x", "--kind", "magic", "--data", good}},
		{1, []string{"absent.txt"}, []string{"add-experts", "x", "--data", "absent.txt"}},
		{1, []string{"empty"}, []string{"add-experts", "x", "--data", p.file("empty.txt", "\n")}},
		{1, []string{"binary"}, []string{"add-experts", "x", "--data", p.file("binary.txt", "a\x00b")}},
		{1, []string{"line 2"}, []string{"finetune", "x", "--data", p.file("bad.jsonl", "{\"text\":\"a b\"}\n{\"text\":")}},
		{1, []string{"no token to learn"}, []string{"finetune", "x", "--data", p.file("none.jsonl", "{\"prompt\":\"a\",\"completion\":\"\"}")}},
		{1, []string{"nobody", "peft list"}, []string{"generate", "hello", "--sets", "nobody"}},
		{1, []string{"no checkpoint"}, []string{"finetune", "a", "--data", good, "--steps", "2", "--resume"}},
		{1, []string{"nobody"}, []string{"finetune", "x", "--data", good, "--with", "nobody"}},
		{1, []string{"diverged"}, []string{"finetune", "x", "--data", good, "--steps", "3", "--lr", "1e30"}},
		{1, []string{"at least one a layer"}, []string{"add-experts", "x", "--data", good, "--experts", "1"}},
		{1, []string{"rank"}, []string{"add-experts", "x", "--data", good, "--rank", "8"}},
		{1, []string{"not found"}, []string{"rollback", "a", "--to", "9"}},
		{1, []string{"not found"}, []string{"remove", "nobody"}},
		{1, []string{"router"}, []string{"init"}},
	} {
		p.fails(c.code, c.words, c.args...)
	}
	if sets := p.run("list")["sets"].([]any); len(sets) != 1 {
		t.Errorf("the registry was touched: %v", sets)
	}
	p.run("verify")
}

// TestE2EOtherBase uses a set with a base that it was not made for.
func TestE2EOtherBase(t *testing.T) {
	p := newProgram(t, "builtin")
	good := p.file("good.txt", strings.Repeat("Some plain words to learn, line after line.\n", 200))
	p.run("add-experts", "a", "--data", good)
	file := filepath.Join(t.TempDir(), "a.peft")
	p.run("export", "a", file)
	p.run("remove", "a")
	p.run("add-experts", "b", "--from", file)
	p.base = basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf")
	p.run("init", "--background", p.head("data/shakespeare.txt", 40000))
	p.fails(1, []string{"another base"}, "generate", "x", "--sets", "b")
	p.fails(1, []string{"another base"}, "add-experts", "c", "--from", file)
}

// TestE2ESecondProcess runs commands while a server holds the registry, and after the server was killed.
func TestE2ESecondProcess(t *testing.T) {
	p := newProgram(t, "builtin")
	cmd := p.command("serve", "--listen", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	buf := make([]byte, 4096)
	if n, err := stderr.Read(buf); err != nil || !bytes.Contains(buf[:n], []byte("listening")) {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	good := p.file("good.txt", strings.Repeat("Some plain words to learn, line after line.\n", 200))
	p.run("add-experts", "a", "--data", good) // through the server
	p.fails(1, []string{"held by another process", fmt.Sprint(cmd.Process.Pid)}, "serve", "--listen", "127.0.0.1:0")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	p.run("verify")
	if sets := p.run("list")["sets"].([]any); len(sets) != 1 {
		t.Errorf("sets %v after the server was killed", sets)
	}
}
