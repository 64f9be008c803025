package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process that answers.
type server struct {
	url   string
	never map[string]float64 // a bias against the tokens that end a text
	cmd   *exec.Cmd
	log   *os.File
	ended chan error
}

// start runs a program with a port of its own as its last argument, and waits until it is ready.
func (b *bench) start(ctx context.Context, health, program string, args ...string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	never, err := b.ends()
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://127.0.0.1:" + strconv.Itoa(port), never: never, ended: make(chan error, 1)}
	if s.log, err = os.Create(filepath.Join(b.work, filepath.Base(program)+"-"+strconv.Itoa(port)+".log")); err != nil {
		return nil, err
	}
	address := strconv.Itoa(port)
	if program == b.peft {
		address = "127.0.0.1:" + address
	}
	s.cmd = exec.Command(program, append(args, address)...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = b.work, s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	go func() { s.ended <- s.cmd.Wait() }()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(s.url + health); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("%s did not start, see %s: %w", program, s.log.Name(), errors.Join(err, s.log.Close()))
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.stop())
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s is not ready, see %s", program, s.log.Name()), s.stop())
		}
	}
}

// stop ends the process.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(40 * time.Second):
		if err := s.cmd.Process.Kill(); err != nil {
			return err
		}
		<-s.ended
	}
	return s.log.Close()
}

// serve starts peft's server on a registry.
func (b *bench) serve(ctx context.Context, registry string, flags ...string) (*server, error) {
	return b.serveIn(ctx, registry, b.activations, flags...)
}

// serveIn is serve with activations of so many bits.
func (b *bench) serveIn(ctx context.Context, registry string, bits int, flags ...string) (*server, error) {
	args := []string{"--registry", registry, "--base", b.base, "--threads", strconv.Itoa(b.threads), "--activations", strconv.Itoa(bits), "serve", "--log-level", "warn"}
	return b.start(ctx, "/readyz", b.peft, append(append(args, flags...), "--listen")...)
}

// serveLlama starts llama.cpp's, with a place for each of so many streams, and notes what it is and its flags.
func (b *bench) serveLlama(ctx context.Context, r *result, streams, context int) (*server, error) {
	var err error
	if r.Peer, err = b.llamaVersion(ctx); err != nil {
		return nil, err
	}
	t := strconv.Itoa(b.threads)
	flags := []string{"-np", strconv.Itoa(streams), "-c", strconv.Itoa(streams * context), "-cb"}
	r.Flags = strings.Join(flags, " ")
	return b.start(ctx, "/health", b.llama, append(append([]string{"-m", b.base, "-t", t, "-tb", t}, flags...), "--no-ui", "--port")...)
}

// llamaVersion is what the program says of itself.
func (b *bench) llamaVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, b.llama, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w: %s", b.llama, err, out)
	}
	var version, build, commit string
	if _, err := fmt.Sscanf(string(out), "version: %s (build %s commit %s", &version, &build, &commit); err != nil || len(commit) < 2 {
		return "llama.cpp", nil // it has said it in other words
	}
	return "llama.cpp " + version + ", commit " + commit[:len(commit)-1], nil
}
