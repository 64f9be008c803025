package tune

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Sequence is one piece that the model sees by itself: row i predicts Targets[i] with Weights 1 or 0.
type Sequence struct {
	Tokens  []int32
	Targets []int32
	Learned []bool
}

func (s *Sequence) learned() (n int) {
	for _, l := range s.Learned {
		if l {
			n++
		}
	}
	return n
}

// sequence makes the rows of a record: all tokens but the last, each with the next one as target.
func sequence(r Record) Sequence {
	n := len(r.Tokens) - 1
	return Sequence{Tokens: r.Tokens[:n], Targets: r.Tokens[1:], Learned: r.Trained[1:]}
}

// HeldOutShare of the data is not trained on: the end of every text and the last records.
const HeldOutShare = 0.1

// Split cuts data into sequences of at most seqLen rows and holds a tenth back: the last tenth of every plain text, and
// every tenth record, or the last one of fewer than ten. What was held back stays so when records are added behind. Too
// little data to hold any back is an error. A record's text is cut into several sequences; other records longer than
// seqLen lose their end, and are dropped where nothing to learn is left. d.Dropped counts both.
func (d *Data) Split(seqLen int) (train, heldOut []Sequence, err error) {
	for _, doc := range d.Docs {
		at := int(float64(len(doc.Tokens)) * (1 - HeldOutShare))
		train = append(train, Cut(doc.Tokens[:at], seqLen)...)
		heldOut = append(heldOut, Cut(doc.Tokens[at:], seqLen)...)
	}
	for i, r := range d.Records {
		if i%10 == 9 || (i > 0 && i == len(d.Records)-1 && i < 9) {
			heldOut = append(heldOut, d.fit(r, seqLen)...)
		} else {
			train = append(train, d.fit(r, seqLen)...)
		}
	}
	if len(train) == 0 || len(heldOut) == 0 {
		return nil, nil, fmt.Errorf("%d sequences to train on and %d to measure on; the data is too little: %w", len(train), len(heldOut), ErrData)
	}
	return train, heldOut, nil
}

// Sequences cuts data into sequences as Split does, and holds nothing back.
func (d *Data) Sequences(seqLen int) []Sequence {
	var all []Sequence
	for _, doc := range d.Docs {
		all = append(all, Cut(doc.Tokens, seqLen)...)
	}
	for _, r := range d.Records {
		all = append(all, d.fit(r, seqLen)...)
	}
	return all
}

// fit makes sequences of a record.
func (d *Data) fit(r Record, seqLen int) []Sequence {
	if len(r.Tokens) <= seqLen+1 {
		return []Sequence{sequence(r)}
	}
	if r.Text {
		return Cut(r.Tokens, seqLen)
	}
	if r = (Record{Tokens: r.Tokens[:seqLen+1], Trained: r.Trained[:seqLen+1]}); r.count() == 0 {
		d.Dropped[fmt.Sprintf("nothing to learn in the first %d tokens", seqLen)]++
		return nil
	}
	d.Dropped[fmt.Sprintf("(cut to %d tokens)", seqLen)]++
	return []Sequence{sequence(r)}
}

// Cut makes sequences of seqLen rows that follow each other; the last may be shorter.
func Cut(ids []int32, seqLen int) []Sequence {
	var s []Sequence
	for at := 0; at+1 < len(ids); at += seqLen {
		s = append(s, sequence(whole(ids[at:min(at+seqLen+1, len(ids))])))
	}
	return s
}

// Batch is several sequences, one after the other.
type Batch struct {
	Tokens  []int32
	Lens    []int // of the sequences
	Targets []int32
	Weights []float32 // 1 over the number of learned tokens, or 0
	Learned int
}

// newBatch joins sequences.
func newBatch(seqs []Sequence) *Batch {
	b := &Batch{}
	b.join(seqs)
	return b
}

// join makes b, in its memory, the batch of those sequences.
func (b *Batch) join(seqs []Sequence) {
	*b = Batch{Tokens: b.Tokens[:0], Lens: b.Lens[:0], Targets: b.Targets[:0], Weights: b.Weights[:0]}
	for _, s := range seqs {
		b.Lens = append(b.Lens, len(s.Tokens))
		b.Tokens, b.Targets = append(b.Tokens, s.Tokens...), append(b.Targets, s.Targets...)
		b.Learned += s.learned()
	}
	for _, s := range seqs {
		for _, l := range s.Learned {
			w := float32(0)
			if l {
				w = 1 / float32(b.Learned)
			}
			b.Weights = append(b.Weights, w)
		}
	}
}

// parts cuts a batch between its sequences into batches of at most size rows, or one sequence where that is longer, and
// appends them to parts. The weights stay, so that losses and gradients of the parts add up to those of the whole.
func (b *Batch) parts(parts []Batch, size int) []Batch {
	lo, hi, first := 0, 0, 0
	for i, n := range b.Lens {
		if hi > lo && hi+n-lo > size {
			parts = append(parts, b.part(lo, hi, first, i))
			lo, first = hi, i
		}
		hi += n
	}
	return append(parts, b.part(lo, hi, first, len(b.Lens)))
}

func (b *Batch) part(lo, hi, first, last int) Batch {
	return Batch{Tokens: b.Tokens[lo:hi], Lens: b.Lens[first:last], Targets: b.Targets[lo:hi], Weights: b.Weights[lo:hi]}
}

// pack joins sequences in order into groups of at most size rows.
func pack(seqs []Sequence, size int) [][]Sequence {
	var groups [][]Sequence
	for len(seqs) > 0 {
		n := fitting(seqs, size)
		groups, seqs = append(groups, seqs[:n:n]), seqs[n:]
	}
	return groups
}

// fitting returns how many of the first sequences have at most size rows together, and at least 1.
func fitting(seqs []Sequence, size int) int {
	rows := 0
	for i, s := range seqs {
		if rows += len(s.Tokens); rows > size && i > 0 {
			return i
		}
	}
	return len(seqs)
}

// feed gives the batches of a run: epoch after epoch, each in an order of its own that the seed decides, or in that of the
// sequences.
type feed struct {
	seqs    []Sequence
	size    int
	seed    uint64
	epoch   uint64
	inOrder bool

	order    permutation
	shuffled []Sequence // of this epoch
	left     []Sequence // of them
	batch    Batch
}

// next returns the next batch, in the memory of the last one.
func (f *feed) next() *Batch {
	f.batch.join(f.group())
	return &f.batch
}

// group returns the sequences of the next batch, which stand there until the next epoch.
func (f *feed) group() []Sequence {
	if len(f.left) == 0 {
		f.shuffled = f.shuffled[:0]
		if f.inOrder {
			f.shuffled = append(f.shuffled, f.seqs...)
		} else {
			for _, i := range f.order.of(len(f.seqs), f.seed, f.epoch) {
				f.shuffled = append(f.shuffled, f.seqs[i])
			}
		}
		f.left = f.shuffled
		f.epoch++
	}
	g := f.left[:fitting(f.left, f.size)]
	f.left = f.left[len(g):]
	return g
}

// permutation makes random orders, one after the other in the same memory.
type permutation struct {
	source rand.PCG
	order  []int
}

// of returns the numbers below n in the order that the seeds decide.
func (p *permutation) of(n int, seed1, seed2 uint64) []int {
	p.source.Seed(seed1, seed2)
	p.order = p.order[:0]
	for i := range n {
		p.order = append(p.order, i)
	}
	rand.New(&p.source).Shuffle(n, func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })
	return p.order
}

// Batches returns the sequences of each of a run's first steps, as Run takes them for that seed: for whoever trains
// something else on the same tokens in the same order.
func Batches(seqs []Sequence, batchTokens int, seed uint64, steps int) [][]Sequence {
	f := &feed{seqs: seqs, size: batchTokens, seed: seed}
	all := make([][]Sequence, steps)
	for i := range all {
		all[i] = slices.Clone(f.group())
	}
	return all
}

// skip passes over n batches, for a run that goes on.
func (f *feed) skip(n int) {
	for range n {
		f.group()
	}
}
