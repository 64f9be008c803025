package peer

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// gateText is inputs of a domain: around a point that its seed gives.
func gateText(rnd *rand.Rand, seed uint64, tokens int) []float32 {
	point := randn(rand.New(rand.NewPCG(seed, 1)), testHidden)
	x := randn(rnd, tokens*testHidden)
	for i := range x {
		x[i] += point[i%testHidden]
	}
	return x
}

// TestGate tells three domains apart, two of which have a gate.
func TestGate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 2))
	r := testRouter(6)
	count := func(x []float32) [][]uint32 {
		c := NewCounter(r, nil)
		for _, b := range r.Blocks() {
			if err := c.Forward(b, nil, x, len(x)/testHidden); err != nil {
				t.Fatal(err)
			}
		}
		return c.Counts()
	}
	sample := func(seed uint64) []Sample {
		var all []Sample
		for range 20 {
			s := NewSampler(r, nil)
			x := gateText(rnd, seed, 70)
			for _, b := range r.Blocks() {
				if err := s.Forward(b, nil, x, 70); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, s.Sample(1, 40), s.Sample(41, 70))
		}
		return all
	}
	var background []Sample
	for seed := range uint64(3) {
		background = append(background, sample(seed + 1)[:12]...)
	}
	own := [][][]uint32{count(gateText(rnd, 1, 800)), count(gateText(rnd, 2, 800))}
	samples := [][]Sample{sample(1), sample(2)}
	first, err := NewGate(r, own[0], samples[0], background)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NewGate(r, own[1], samples[1], background, samples[0])
	if err != nil {
		t.Fatal(err)
	}
	read := func(x []float32, calls int, from, to int) *Sampler {
		t.Helper()
		j := NewSampler(r, nil)
		j.From, j.To = from, to
		n := len(x) / testHidden
		for c := range calls {
			lo, hi := c*n/calls, (c+1)*n/calls
			for _, b := range r.Blocks() {
				y := make([]float32, (hi-lo)*testHidden)
				if err := j.Forward(b, y, x[lo*testHidden:hi*testHidden], hi-lo); err != nil {
					t.Fatal(err)
				}
				if slices.ContainsFunc(y, func(v float32) bool { return v != 0 }) {
					t.Fatal("a sampler changes y")
				}
			}
		}
		return j
	}
	for seed := range uint64(3) {
		x := gateText(rnd, seed+1, 64)
		j := read(x, 1, 0, 0)
		all := j.Sample(0, j.Rows())
		for g, gate := range []*Gate{first, second} {
			s := gate.Score(all)
			if j.Rows() != 64 || (s > 0) != (int(seed) == g) {
				t.Errorf("text of domain %d: gate %d says %g of %d rows", seed, g, s, j.Rows())
			}
			if below := math.Nextafter(s, s-1); gate.Above(all, s) || !gate.Above(all, below) {
				t.Errorf("text of domain %d: gate %d fires at another score than %g", seed, g, s)
			}
		}
		if part := read(x, 3, 10, 50); part.Rows() != 40 || !reflect.DeepEqual(part.Sample(0, 40), j.Sample(10, 50)) {
			t.Error("rows read in parts differ from those read at once")
		}
	}
	if first.Score(NewSampler(r, nil).Sample(0, 0)) != 0 {
		t.Error("no rows say something")
	}
	back, err := UnmarshalGate(second.Marshal(), r)
	if err != nil || !reflect.DeepEqual(back, second) {
		t.Errorf("stored and read again: %v", err)
	}
	b := second.Marshal()
	for n := range b {
		if _, err := UnmarshalGate(b[:n], r); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := UnmarshalGate(append(b, 0), r); !errors.Is(err, ErrCorrupt) {
		t.Error("bytes too many pass:", err)
	}
	if _, err := NewGate(r, own[0][:1], samples[0], background); err == nil {
		t.Error("counts of one layer pass for two")
	}
	if _, err := NewGate(r, own[0], []Sample{samples[0][0][:1]}, background); err == nil {
		t.Error("samples of one layer pass for two")
	}
	if _, err := NewGate(r, own[0], nil, background); !errors.Is(err, ErrFewSamples) {
		t.Error("a gate without samples:", err)
	}
	if err := NewSampler(r, nil).Forward(1, nil, nil, 3); err == nil {
		t.Error("short rows pass")
	}
}

// TestHits: few cells of many are counted as many of few are.
func TestHits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.SliceOfN(rapid.Uint32Range(0, 99), 1, 50).Draw(t, "cells")
		var s Sampler
		if few, many := s.hits(cells, 100), s.hits(cells, 1<<20); !slices.Equal(few, many) || !slices.IsSortedFunc(few, func(a, b Hit) int { return int(a.Cell) - int(b.Cell) }) {
			t.Fatalf("%v and %v", few, many)
		}
	})
}
