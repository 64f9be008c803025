package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base"
)

// benchHome is a directory with a registry and texts for one measurement. What is measured is prepared by other processes
// of this program, so that their memory is not counted.
type benchHome struct {
	program, dir, base, threads string

	registry, data, held string // data is a long text, held a short one
}

func newBenchHome(c *cli.Context) (*benchHome, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: find this program: %w", err)
	}
	ref, _, err := peft.LocateBase(c.String("cache"), c.String("base"))
	if err != nil {
		return nil, err
	}
	if ref != base.Builtin { // the other processes work elsewhere, out of reach of a peft.toml
		if ref, err = filepath.Abs(ref); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "peft-bench-*")
	if err != nil {
		return nil, err
	}
	h := &benchHome{program: program, dir: dir, base: ref, threads: strconv.Itoa(c.Int("threads")),
		registry: filepath.Join(dir, "registry"), data: filepath.Join(dir, "data.txt"), held: filepath.Join(dir, "held-out.txt")}
	for file, times := range map[string]int{h.data: 400, h.held: 1} {
		if err := os.WriteFile(file, []byte(strings.Repeat(benchText, times)), 0o600); err != nil {
			h.close()
			return nil, err
		}
	}
	return h, nil
}

func (h *benchHome) close() { _ = os.RemoveAll(h.dir) }

// command returns a command of this program on the registry.
func (h *benchHome) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.program, append([]string{"--registry", h.registry, "--base", h.base, "--threads", h.threads}, args...)...)
	cmd.Dir = h.dir
	return cmd
}

// run runs a command to its end.
func (h *benchHome) run(ctx context.Context, args ...string) error {
	cmd := h.command(ctx, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	return failed(cmd, cmd.Run(), &said)
}

// failed adds to an error what the command said.
func failed(cmd *exec.Cmd, err error, said fmt.Stringer) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bench: %q: %w: %s", cmd.Args[1:], err, strings.TrimSpace(said.String()))
}

// init makes the base's router.
func (h *benchHome) init(c *cli.Context) error {
	args := []string{"init", "--background", h.data}
	if n := c.Int("sub-keys"); n > 0 {
		args = append(args, "--subkeys", strconv.Itoa(n))
	}
	return h.run(c.Context, args...)
}
