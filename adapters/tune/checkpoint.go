package tune

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/gopeft/peft/base/llama"
)

// ErrCheckpoint reports a checkpoint that is damaged or belongs to another run.
var ErrCheckpoint = errors.New("checkpoint does not fit")

const checkpointFormat = 1

// checkpointHeader is the JSON in front of a checkpoint's numbers.
type checkpointHeader struct {
	Format int       `json:"format"`
	Run    string    `json:"run"` // hash of options, data and starting rows
	Step   int       `json:"step"`
	Tokens int       `json:"tokens"`
	Secs   float64   `json:"seconds"`
	Best   bestState `json:"best"`
	Losses []Point   `json:"losses"`
	Tables []int     `json:"tables"` // values of each table
}

type bestState struct {
	Step int     `json:"step"`
	NLL  float64 `json:"nll"`
	Bad  int     `json:"bad"` // evaluations since that were no better
	Has  bool    `json:"has"`
}

// arrays returns everything a checkpoint keeps beside the header, in order.
func (r *run) arrays() [][]float32 {
	var all [][]float32
	for i, t := range r.tables {
		all = append(all, t.Rows.F32, r.adam.tables[i].M, r.adam.tables[i].V)
		if r.best.Has {
			all = append(all, r.bestRows[i])
		}
	}
	return all
}

// checkpoint writes the run's state.
func (r *run) checkpoint(w io.Writer) error {
	h := checkpointHeader{Format: checkpointFormat, Run: r.id, Step: r.step, Tokens: r.tokens, Secs: r.seconds(), Best: r.best, Losses: r.losses}
	for _, t := range r.tables {
		h.Tables = append(h.Tables, len(t.Rows.F32))
	}
	j, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("tune: checkpoint: %w", err)
	}
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(len(j))), j...)
	flush := func(min int) {
		if err == nil && len(b) > min {
			_, err = w.Write(b)
			b = b[:0]
		}
	}
	for _, x := range r.arrays() {
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			flush(1 << 18)
		}
	}
	for _, t := range r.adam.tables {
		for _, v := range t.Last {
			b = binary.LittleEndian.AppendUint32(b, v)
			flush(1 << 18)
		}
	}
	flush(0)
	if err != nil {
		return fmt.Errorf("tune: checkpoint: %w", err)
	}
	return nil
}

// restore reads what checkpoint wrote.
func (r *run) restore(rd io.Reader) error {
	all, err := io.ReadAll(rd)
	if err != nil {
		return fmt.Errorf("tune: resume: %w", err)
	}
	if len(all) < 8 || binary.LittleEndian.Uint64(all) > uint64(len(all)-8) {
		return fmt.Errorf("tune: resume: %d bytes: %w", len(all), ErrCheckpoint)
	}
	n := binary.LittleEndian.Uint64(all)
	var h checkpointHeader
	if err := json.Unmarshal(all[8:8+n], &h); err != nil {
		return fmt.Errorf("tune: resume: %w: %w", ErrCheckpoint, err)
	}
	if h.Format != checkpointFormat || h.Run != r.id || len(h.Tables) != len(r.tables) {
		return fmt.Errorf("tune: resume: the checkpoint is of a run with other data, options or rows; use the same ones, or train without --resume: %w", ErrCheckpoint)
	}
	if h.Step < 1 || h.Step != len(h.Losses) {
		return fmt.Errorf("tune: resume: %d steps with %d losses: %w", h.Step, len(h.Losses), ErrCheckpoint)
	}
	for i, t := range r.tables {
		if h.Tables[i] != len(t.Rows.F32) {
			return fmt.Errorf("tune: resume: table %d has %d values, want %d: %w", i, h.Tables[i], len(t.Rows.F32), ErrCheckpoint)
		}
	}
	r.step, r.tokens, r.before, r.best, r.losses = h.Step, h.Tokens, h.Secs, h.Best, h.Losses
	r.adam.step = h.Step
	if r.best.Has {
		r.keepBest()
	}
	src := bytes.NewReader(all[8+n:])
	for _, x := range r.arrays() {
		if err := binary.Read(src, binary.LittleEndian, x); err != nil {
			return fmt.Errorf("tune: resume: %w: %w", ErrCheckpoint, err)
		}
	}
	for _, t := range r.adam.tables {
		if err := binary.Read(src, binary.LittleEndian, t.Last); err != nil {
			return fmt.Errorf("tune: resume: %w: %w", ErrCheckpoint, err)
		}
	}
	if src.Len() != 0 {
		return fmt.Errorf("tune: resume: %d bytes too many: %w", src.Len(), ErrCheckpoint)
	}
	return nil
}

// keepBest copies the rows as the best so far.
func (r *run) keepBest() {
	if r.bestRows == nil {
		r.bestRows = make([][]float32, len(r.tables))
	}
	for i, t := range r.tables {
		r.bestRows[i] = append(r.bestRows[i][:0], t.Rows.F32...)
	}
}

// identity hashes what decides a run: options, arithmetic, router, the sets beside it, the experts' places and starting
// rows, and the data.
func (r *run) identity(train []Sequence) (string, error) {
	h := sha256.New()
	decisive := []any{r.o.decisive(), r.m.Precision().String(), r.t.Set.Router, r.t.Set.Scale, r.t.Fresh}
	for _, s := range r.t.With {
		decisive = append(decisive, s.Name, s.Revision, s.Scale)
	}
	if err := json.NewEncoder(h).Encode(decisive); err != nil {
		return "", err
	}
	for _, t := range r.tables {
		if t.Site != llama.Beside || t.AlwaysOn() {
			_, _ = fmt.Fprintln(h, t.Block, t.Site, t.Kind.Name(), t.Scale) // a hash never fails
		}
		if !t.AlwaysOn() {
			h.Write(t.Occupancy.Marshal())
		}
		if err := binary.Write(h, binary.LittleEndian, t.Rows.F32); err != nil {
			return "", err
		}
	}
	for _, seqs := range slices.Concat([][]Sequence{train, r.held}, r.o.Background, r.o.Others) {
		for _, s := range seqs {
			if err := errors.Join(binary.Write(h, binary.LittleEndian, int64(len(s.Tokens))), binary.Write(h, binary.LittleEndian, s.Tokens),
				binary.Write(h, binary.LittleEndian, s.Targets), binary.Write(h, binary.LittleEndian, s.Learned)); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
