package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// startPrompt is short, because it is the start that is measured, not the reading.
const startPrompt = "To be"

// benchStart runs this program as its users do, with a set that was trained for a step.
func benchStart(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"base", "seconds to the first token", "least", "most", "MiB of memory", "MiB without mapped files"},
		Notes: []string{"From starting the process; its memory is the most until then, as Linux has it, and what it has of its own; medians."}}
	h, err := newBenchHome(c)
	if err != nil {
		return nil, err
	}
	defer h.close()
	if err := h.init(c); err != nil {
		return nil, err
	}
	if err := h.run(c.Context, "finetune", benchSet, "--data", h.data, "--eval-data", h.held, "--steps", "1"); err != nil {
		return nil, err
	}
	var peak, own []float64
	run := func() (float64, error) {
		first, mem, err := firstToken(h.command(c.Context, "generate", startPrompt, "--sets", benchSet, "--max-tokens", "32"), len(startPrompt))
		peak, own = append(peak, mem.peak), append(own, mem.own)
		return first, err
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
	r.add(filepath.Base(h.base), mid, times[0], times[len(times)-1], middle(peak), middle(own))
	return r, nil
}

// firstToken runs a command and returns the seconds from its start to the first byte after a prompt of so many, and the
// memory that it had then.
func firstToken(cmd *exec.Cmd, prompt int) (float64, memory, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
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
	return took, mem, failed(cmd, errors.Join(cmd.Wait(), err, rest), &said)
}

// memory of a process, in MiB; 0 where the system does not tell.
type memory struct{ peak, own float64 }

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
