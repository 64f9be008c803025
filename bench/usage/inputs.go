package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/pretrain"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/bench/record"
)

// What a sequence and a piece of the inputs are long, in tokens.
const sequence, piece = 256, 1 << 14

// inputs returns the inputs of the block's feed-forward layer, [calibrate + tokens, hidden], reading those pieces of them
// that are not there yet.
func (b *bench) inputs(ctx context.Context) ([]float32, error) {
	total, hidden := b.calibrate+b.tokens, b.base.Model.Config.Hidden
	var seqs []tune.Sequence
	x := make([]float32, 0, total*hidden)
	for at := 0; at < total; at += piece {
		file := filepath.Join(b.work, fmt.Sprintf("inputs-%s-%d-%d-%d.f32", b.base.Name, b.block, b.seed, at/piece))
		v, err := readFloats(file, piece*hidden)
		if err != nil {
			return nil, err
		}
		if v == nil {
			if err := b.left.Take(ctx); err != nil {
				return nil, err
			}
			if seqs == nil {
				if seqs, err = b.sequences(ctx); err != nil {
					return nil, err
				}
			}
			if v, err = b.read(ctx, seqs, at); err != nil {
				return nil, err
			}
			if err := writeFloats(file, v); err != nil {
				return nil, err
			}
			record.Logf("%s: read %d of %d tokens", b.base.Name, at+piece, total)
		}
		x = append(x, v[:min(len(v), cap(x)-len(x))]...)
	}
	return x, nil
}

// sequences are the text, mixed, each of the same length.
func (b *bench) sequences(ctx context.Context) ([]tune.Sequence, error) {
	d, err := tune.ReadFiles(b.base.Tokenizer, b.texts, true)
	if err != nil {
		return nil, err
	}
	all := d.Sequences(sequence)
	if b.goroot == "" {
		if b.goroot, err = pretrain.GOROOT(ctx); err != nil {
			return nil, err
		}
	}
	docs, err := pretrain.Corpus(b.goroot)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		all = append(all, tune.Cut(b.base.Tokenizer.Encode(doc.Text, false), sequence)...)
	}
	rand.New(rand.NewPCG(b.seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// read runs the piece of the text that begins with the first sequence after so many tokens through the base, and leaves
// out what its last sequence has too much.
func (b *bench) read(ctx context.Context, seqs []tune.Sequence, at int) ([]float32, error) {
	rec := peer.NewRecorder([]int{b.block}, b.base.Model.Config.Hidden, piece)
	for _, s := range seqs {
		if at > 0 {
			at -= len(s.Tokens)
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := b.base.Model.ForwardTo(llama.One(s.Tokens, nil), rec, b.block+1); err != nil {
			return nil, err
		}
		if rec.Full() {
			sample, err := rec.Sample(b.block)
			return sample.X, err
		}
	}
	return nil, errors.New("the text has no more tokens; give fewer -tokens or more -text")
}

// readFloats returns nil where there is no file.
func readFloats(file string, n int) ([]float32, error) {
	raw, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(raw) != 4*n {
		return nil, fmt.Errorf("%s has %d bytes, want %d", file, len(raw), 4*n)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return v, nil
}

func writeFloats(file string, v []float32) error {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	if err := os.WriteFile(file+".part", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
