package tune

import (
	"encoding/binary"
	"fmt"
)

// Spread returns as many of the sequences as have at most so many rows together, evenly from all over them, in order; one
// at least.
func Spread(seqs []Sequence, rows int) []Sequence {
	total := 0
	for _, s := range seqs {
		total += len(s.Tokens)
	}
	if total <= rows || len(seqs) == 0 {
		return seqs
	}
	step := float64(total) / float64(max(1, rows)) // of every so many sequences one is taken
	var out []Sequence
	have := 0
	for at := step / 2; int(at) < len(seqs); at += step {
		s := seqs[int(at)]
		if have += len(s.Tokens); have > rows {
			break
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		out = seqs[:1]
	}
	return out
}

// MarshalSequences returns the stored form of sequences: for each the number of rows, the tokens with the last target, and
// which rows are learned, all as unsigned variable-length integers.
func MarshalSequences(seqs []Sequence) []byte {
	var b []byte
	for _, s := range seqs {
		n := len(s.Tokens)
		b = binary.AppendUvarint(b, uint64(n))
		for _, id := range s.Tokens {
			b = binary.AppendUvarint(b, uint64(id))
		}
		if n > 0 {
			b = binary.AppendUvarint(b, uint64(s.Targets[n-1]))
		}
		for i := 0; i < n; { // runs of rows that are alike, those not learned first
			for _, learned := range []bool{false, true} {
				from := i
				for i < n && s.Learned[i] == learned {
					i++
				}
				b = binary.AppendUvarint(b, uint64(i-from))
			}
		}
	}
	return b
}

// UnmarshalSequences reads what MarshalSequences wrote, for a vocabulary of that size. Errors wrap ErrData.
func UnmarshalSequences(b []byte, vocab int) ([]Sequence, error) {
	bad := func(what string) ([]Sequence, error) {
		return nil, fmt.Errorf("tune: stored sequences: %s, %d bytes before the end: %w", what, len(b), ErrData)
	}
	next := func() (int, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<31-1 {
			return 0, false
		}
		b = b[n:]
		return int(v), true
	}
	var seqs []Sequence
	for len(b) > 0 {
		n, ok := next()
		if !ok || n == 0 || n > len(b) {
			return bad("a wrong number of tokens")
		}
		ids, learned := make([]int32, n+1), make([]bool, 0, n)
		for i := range ids {
			id, ok := next()
			if !ok || id >= vocab {
				return bad("a token that is not of the vocabulary")
			}
			ids[i] = int32(id)
		}
		for len(learned) < n {
			runs := 0
			for _, is := range []bool{false, true} {
				run, ok := next()
				if !ok || run > n-len(learned) {
					return bad("a wrong number of learned tokens")
				}
				for range run {
					learned = append(learned, is)
				}
				runs += run
			}
			if runs == 0 {
				return bad("an empty run")
			}
		}
		seqs = append(seqs, Sequence{Tokens: ids[:n], Targets: ids[1:], Learned: learned})
	}
	return seqs, nil
}
