package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

// startPrompt is short, because it is the start that is measured, not the reading.
const startPrompt = "To be"

// benchStart runs this program as its users do, with a set that was trained for a step.
func benchStart(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"base", "seconds to the first token", "least", "most", "MiB of memory", "MiB without mapped files"},
		Notes: []string{"From starting the process; its memory is the most until then, as Linux has it, and what it has of its own; medians."}}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "peft-bench-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ref := c.String("base")
	if _, err := os.Stat(ref); err == nil { // the child works in dir, out of reach of a peft.toml
		if ref, err = filepath.Abs(ref); err != nil {
			return nil, err
		}
	}
	registry := filepath.Join(dir, "registry")
	name, err := trainBenchSet(c, registry, ref, dir)
	if err != nil {
		return nil, err
	}
	var peak, own []float64
	run := func() (float64, error) {
		cmd := exec.CommandContext(c.Context, program, "--registry", registry, "--base", ref, "--threads", fmt.Sprint(c.Int("threads")),
			"generate", startPrompt, "--sets", benchSet, "--max-tokens", "32")
		cmd.Dir = dir
		var said strings.Builder
		cmd.Stderr = &said
		first, mem, err := firstToken(cmd, len(startPrompt))
		if err != nil {
			return 0, fmt.Errorf("bench: peft generate: %w: %s", err, strings.TrimSpace(said.String()))
		}
		peak, own = append(peak, mem.peak), append(own, mem.own)
		return first, nil
	}
	if _, err := run(); err != nil { // the first brings the files into memory
		return nil, err
	}
	peak, own = nil, nil
	times, err := rounds(c, run)
	if err != nil {
		return nil, err
	}
	mid := middle(times) // sorts
	r.add(name, mid, times[0], times[len(times)-1], middle(peak), middle(own))
	return r, nil
}

// trainBenchSet makes a registry with a set that was trained for a step, and returns the base's name.
func trainBenchSet(c *cli.Context, registry, ref, dir string) (name string, err error) {
	data, held := filepath.Join(dir, "data.txt"), filepath.Join(dir, "held-out.txt")
	err = errors.Join(os.WriteFile(data, []byte(strings.Repeat(benchText, 400)), 0o600), os.WriteFile(held, []byte(benchText), 0o600))
	if err != nil {
		return "", err
	}
	e, err := peft.Open(peft.Options{Registry: registry, Base: ref, Threads: c.Int("threads")})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	b, err := e.Base()
	if err != nil {
		return "", err
	}
	if _, err := e.Init(c.Context, peft.InitOptions{Background: data, SubKeys: c.Int("sub-keys")}); err != nil {
		return "", err
	}
	_, err = e.Finetune(c.Context, benchSet, peft.FinetuneOptions{Data: []string{data}, EvalData: []string{held}, Steps: 1})
	return b.Name, err
}

// memory of a process, in MiB; 0 where the system does not tell.
type memory struct{ peak, own float64 }

// firstToken runs a command and returns the seconds from its start to the first byte after a prompt of so many, and the
// memory that it had then.
func firstToken(cmd *exec.Cmd, prompt int) (float64, memory, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, memory{}, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, memory{}, err
	}
	_, err = io.CopyN(io.Discard, out, int64(prompt)+1)
	took := time.Since(begun).Seconds()
	mem := memoryOf(cmd.Process.Pid)
	_, rest := io.Copy(io.Discard, out)
	return took, mem, errors.Join(cmd.Wait(), err, rest)
}

// memoryOf reads what Linux tells about a process.
func memoryOf(pid int) memory {
	var m memory
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			m.peak = kib / 1024
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %f kB", &kib); n == 1 {
			m.own = kib / 1024
		}
	}
	return m
}
