package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/builtin"
)

//go:embed lora.py
var loraProgram []byte

// worker is lora.py at work: it answers one line to each line.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// ask starts lora.py if it does not run, gives it a command and reads its answer.
func (b *bench) ask(ctx context.Context, command, answer any) error {
	if b.lora == nil {
		file := b.path("lora.py")
		if err := os.WriteFile(file, loraProgram, 0o666); err != nil {
			return err
		}
		model, err := b.modelFile()
		if err != nil {
			return err
		}
		w := &worker{cmd: exec.CommandContext(ctx, b.python, file, model, strconv.Itoa(b.threads))}
		w.cmd.Stderr = os.Stderr
		in, err := w.cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := w.cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := w.cmd.Start(); err != nil {
			return err
		}
		w.in, w.out, b.lora = in, bufio.NewReader(out), w
		if err := w.read(&b.res.Peer); err != nil {
			return err
		}
	}
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := b.lora.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("lora.py: %w", err)
	}
	return b.lora.read(answer)
}

// modelFile returns the base's file, which the built-in one gets in the work directory.
func (b *bench) modelFile() (string, error) {
	if b.base != base.Builtin {
		return b.base, nil
	}
	data, err := builtin.GGUF()
	if err != nil {
		return "", err
	}
	file := b.path("base.gguf")
	return file, os.WriteFile(file, data, 0o666)
}

func (w *worker) read(answer any) error {
	line, err := w.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("lora.py ended: %w", errors.Join(err, w.close()))
	}
	return json.Unmarshal(line, answer)
}

// close ends it; on nil there is nothing to end.
func (w *worker) close() error {
	if w == nil {
		return nil
	}
	return errors.Join(w.in.Close(), w.cmd.Wait())
}

// peer says what lora.py is.
type peer struct {
	Name string `json:"name"`
}
