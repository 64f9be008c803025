package tune

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestSequencesStored(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	var seqs []Sequence
	for n := 1; n < 40; n++ {
		ids, learned := make([]int32, n+1), make([]bool, n)
		for i := range ids {
			ids[i] = rnd.Int32N(70000)
		}
		for i := range learned {
			learned[i] = rnd.IntN(3) > 0
		}
		seqs = append(seqs, Sequence{Tokens: ids[:n], Targets: ids[1:], Learned: learned})
	}
	b := MarshalSequences(seqs)
	got, err := UnmarshalSequences(b, 70000)
	if err != nil || !reflect.DeepEqual(got, seqs) {
		t.Errorf("%d sequences, %v", len(got), err)
	}
	if _, err := UnmarshalSequences(b, 1000); !errors.Is(err, ErrData) {
		t.Errorf("tokens outside the vocabulary: %v", err)
	}
	for n := range b { // cut anywhere: an error, or whole sequences fewer
		if got, err := UnmarshalSequences(b[:n], 70000); err == nil && len(got) >= len(seqs) {
			t.Errorf("%d of %d bytes give %d sequences", n, len(b), len(got))
		}
	}
}

func TestSpread(t *testing.T) {
	seqs := Cut(make([]int32, 101), 10) // 10 sequences of 10 rows
	for rows, want := range map[int]int{5: 1, 10: 1, 30: 3, 50: 5, 100: 10, 1000: 10} {
		got := Spread(seqs, rows)
		if len(got) != want {
			t.Errorf("%d rows: %d sequences, want %d", rows, len(got), want)
		}
	}
	if len(Spread(nil, 10)) != 0 {
		t.Error("something from nothing")
	}
}
