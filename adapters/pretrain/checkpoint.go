package pretrain

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// ErrCheckpoint reports a checkpoint that is damaged or belongs to another run.
var ErrCheckpoint = errors.New("unusable checkpoint")

// header stands as one line of JSON before the numbers of a checkpoint: parameters and the two moments in f32, then the
// SHA-256 of everything before it.
type header struct {
	Format  string  `json:"format"`
	Run     string  `json:"run"` // what the numbers depend on beside the step
	Step    int     `json:"step"`
	Seconds float64 `json:"seconds"`
	Floats  int     `json:"floats"`
}

const checkpointFormat = "peft pretrain 1"

// writeCheckpoint replaces the file at path at once or not at all.
func writeCheckpoint(path string, h header, vectors ...[]float32) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write checkpoint %s: %w", path, err)
		}
	}()
	h.Format, h.Floats = checkpointFormat, 0
	for _, v := range vectors {
		h.Floats += len(v)
	}
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	if _, err = w.Write(append(line, '\n')); err != nil {
		return err
	}
	var b [4]byte
	for _, v := range vectors {
		for _, x := range v {
			binary.LittleEndian.PutUint32(b[:], math.Float32bits(x))
			if _, err = w.Write(b[:]); err != nil {
				return err
			}
		}
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if _, err = f.Write(sum.Sum(nil)); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readCheckpoint fills the vectors from a checkpoint of the same run.
func readCheckpoint(path, run string, vectors ...[]float32) (header, error) {
	var h header
	data, err := os.ReadFile(path)
	if err != nil {
		return h, fmt.Errorf("read checkpoint: %w", err)
	}
	fail := func(what string, args ...any) (header, error) {
		return header{}, fmt.Errorf("checkpoint %s: %s: %w", path, fmt.Sprintf(what, args...), ErrCheckpoint)
	}
	n := 0
	for _, v := range vectors {
		n += len(v)
	}
	line, _, ok := bytes.Cut(data[:min(len(data), 4096)], []byte("\n"))
	if !ok || json.Unmarshal(line, &h) != nil || h.Format != checkpointFormat {
		return fail("not a checkpoint of this version")
	}
	if h.Run != run {
		return fail("made with another text, model shape, seed or optimiser; start without it or restore those options")
	}
	body := data[len(line)+1:]
	if h.Floats != n || len(body) != 4*n+sha256.Size {
		return fail("holds %d bytes, want %d: cut short", len(body), 4*n+sha256.Size)
	}
	sum := sha256.New()
	sum.Write(data[:len(data)-sha256.Size])
	if !bytes.Equal(sum.Sum(nil), data[len(data)-sha256.Size:]) {
		return fail("checksum differs: damaged")
	}
	for _, v := range vectors {
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
		}
		body = body[4*len(v):]
	}
	return h, nil
}
