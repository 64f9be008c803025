package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve starts the built program as a server and returns it with its address.
func (p *program) serve() (*exec.Cmd, string) {
	p.t.Helper()
	cmd := p.command("serve", "--listen", "127.0.0.1:0")
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill() })
	url, in := "", bufio.NewScanner(errs)
	for url == "" && in.Scan() {
		url = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(in.Text())
	}
	go func() { // so that it never waits for its output to be read
		for in.Scan() {
			continue
		}
	}()
	if url == "" {
		p.t.Fatal("the server did not start")
	}
	return cmd, url
}

// TestE2EServe: commands of other processes work in the server, and a job goes on after the server was killed and after it
// was stopped, when the next one starts.
func TestE2EServe(t *testing.T) {
	p := newProgram(t, "builtin")
	data := p.file("tarn.txt", strings.Repeat("The tarn lies still. Nobody rows there in winter.\n", 300))
	p.run("init")
	srv, url := p.serve()
	p.run("add-experts", "a", "--data", data)
	if n := len(p.run("list")["sets"].([]any)); n != 1 {
		t.Errorf("%d sets", n)
	}
	p.fails(1, []string{"not found"}, "show", "nobody")
	p.fails(2, []string{"--steps"}, "finetune", "a", "--data", data, "--steps", "0")

	long := p.command("finetune", "a", "--data", data, "--steps", "100000", "--checkpoint-every", "2", "--batch-tokens", "128", "--seq-len", "64")
	if err := long.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	if err := long.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := long.Wait(); err == nil || long.ProcessState.ExitCode() != 1 {
		t.Errorf("an interrupted command: %v", err)
	}

	body, err := json.Marshal(map[string]any{"name": "b", "data": []any{map[string]string{"name": "t.txt", "content": string(must(os.ReadFile(data)))}},
		"options": map[string]any{"steps": 60, "batch_tokens": 128, "seq_len": 64, "checkpoint_every": 2}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url+"/peft/v1/jobs", "application/json", strings.NewReader(string(body)))
	if err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("%v, %v", r, err)
	}
	r.Body.Close()
	job := func() (j struct {
		State    string
		Error    string
		Resumed  int
		Progress struct {
			Done int
			Step *struct{}
		}
	}) {
		r, err := http.Get(url + "/peft/v1/jobs/000001")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
			t.Fatal(err)
		}
		return j
	}
	until := func(step int) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			j := job()
			if j.State == "done" || j.Progress.Step != nil && j.Progress.Done >= step {
				return
			}
			if j.State == "failed" || time.Since(began) > 3*time.Minute {
				t.Fatalf("%+v, want step %d", j, step)
			}
		}
	}
	until(10)
	_ = srv.Process.Kill()
	_ = srv.Wait()
	srv, url = p.serve()
	until(30)
	if err := srv.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := srv.Wait(); err != nil {
		t.Errorf("a stopped server: %v", err)
	}
	srv, url = p.serve()
	for began := time.Now(); job().State != "done"; time.Sleep(100 * time.Millisecond) {
		if j := job(); j.State == "failed" || time.Since(began) > 5*time.Minute {
			t.Fatalf("%+v", j)
		}
	}
	if j := job(); j.Resumed != 2 {
		t.Errorf("resumed %d times, want 2", j.Resumed)
	}
	b := p.run("show", "b")
	if b["revision"] != 1.0 || b["training"].(map[string]any)["steps"] != 60.0 {
		t.Errorf("%v", b)
	}
	_ = srv.Process.Signal(syscall.SIGTERM)
	_ = srv.Wait()
	p.run("verify")
}
