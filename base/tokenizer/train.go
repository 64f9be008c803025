package tokenizer

import (
	"container/heap"
	"fmt"
	"iter"
	"slices"
)

// Train makes a byte-level BPE tokenizer of vocabSize tokens from texts: the special tokens first, then the 256 bytes,
// then the merges, the most frequent pair first (arXiv 1508.07909, algorithm 1; equal counts by the lower ids). A pair
// that occurs once is not merged, so a short text gives fewer tokens. Digits are separate words. The first special token
// is both BOS and EOS.
func Train(texts iter.Seq[string], vocabSize int, specials []string, template string) (*Tokenizer, error) {
	if len(specials) == 0 || vocabSize <= len(specials)+256 {
		return nil, fmt.Errorf("tokenizer: train %d tokens with %d special ones; want more than %d and at least one special: %w",
			vocabSize, len(specials), len(specials)+256, ErrInvalid)
	}
	s := spec{split: &splitter{steps: []step{digitsStep, gpt2Step}}, template: template, eos: []int32{0}}
	s.tokens = slices.Clone(specials)
	for b := range 256 {
		s.tokens = append(s.tokens, string(byteRune[b]))
	}
	ids := make(map[string]int32, vocabSize)
	for i, tok := range s.tokens {
		if _, twice := ids[tok]; twice {
			return nil, fmt.Errorf("tokenizer: special token %q is there twice or is a byte's own: %w", tok, ErrInvalid)
		}
		ids[tok] = int32(i)
	}
	tr := newTrainer(texts, s.split, int32(len(specials)))
	joined := map[[2]int32]bool{}
	for len(s.tokens) < vocabSize {
		pair, ok := tr.best()
		if !ok {
			break // the text has no pair left
		}
		l, r := s.tokens[pair[0]], s.tokens[pair[1]]
		id, known := ids[l+r] // two merges can make the same token, as a+bc and ab+c
		if known && int(id) < len(specials) {
			continue // ordinary text must not become a special token
		}
		if !known {
			id = int32(len(s.tokens))
			s.tokens = append(s.tokens, l+r)
			ids[l+r] = id
		}
		if !joined[pair] {
			joined[pair] = true
			s.merges = append(s.merges, l+" "+r)
		}
		tr.join(pair, id)
	}
	for i, tok := range specials {
		s.added = append(s.added, added{id: int32(i), text: tok})
	}
	return build(s)
}

// trainer holds the distinct words of the text as sequences of tokens, and the counts of neighbours.
type trainer struct {
	words  [][]int32
	counts []int
	pairs  map[[2]int32]*pairCount
	queue  pairQueue
}

type pairCount struct {
	n  int
	in map[int]struct{} // words that have or had the pair
}

type pairEntry struct {
	pair [2]int32
	n    int // when it was queued
}

type pairQueue []pairEntry

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	if q[i].n != q[j].n {
		return q[i].n > q[j].n
	}
	return slices.Compare(q[i].pair[:], q[j].pair[:]) < 0
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(pairEntry)) }
func (q *pairQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func newTrainer(texts iter.Seq[string], split *splitter, firstByte int32) *trainer {
	t := &trainer{pairs: map[[2]int32]*pairCount{}}
	index := map[string]int{}
	for text := range texts {
		split.words(text, func(w string) {
			i, ok := index[w]
			if !ok {
				i = len(t.words)
				index[string([]byte(w))] = i
				ids := make([]int32, len(w))
				for k := range len(w) {
					ids[k] = firstByte + int32(w[k])
				}
				t.words, t.counts = append(t.words, ids), append(t.counts, 0)
			}
			t.counts[i]++
		})
	}
	for i, w := range t.words {
		for k := range len(w) - 1 {
			t.add([2]int32{w[k], w[k+1]}, i, t.counts[i])
		}
	}
	for p, c := range t.pairs {
		t.queue = append(t.queue, pairEntry{p, c.n})
	}
	heap.Init(&t.queue)
	return t
}

func (t *trainer) add(p [2]int32, word, n int) {
	c := t.pairs[p]
	if c == nil {
		c = &pairCount{in: map[int]struct{}{}}
		t.pairs[p] = c
	}
	c.n += n
	c.in[word] = struct{}{}
}

// best returns the most frequent pair; entries whose count has changed since they were queued go back.
func (t *trainer) best() ([2]int32, bool) {
	for t.queue.Len() > 0 {
		e := heap.Pop(&t.queue).(pairEntry)
		c := t.pairs[e.pair]
		if c == nil || c.n <= 1 {
			continue
		}
		if c.n != e.n {
			heap.Push(&t.queue, pairEntry{e.pair, c.n})
			continue
		}
		return e.pair, true
	}
	return [2]int32{}, false
}

// join replaces the pair by id in every word that has it.
func (t *trainer) join(pair [2]int32, id int32) {
	fresh := map[[2]int32]struct{}{}
	for i := range t.pairs[pair].in {
		w, n := t.words[i], t.counts[i]
		for k := range len(w) - 1 {
			t.pairs[[2]int32{w[k], w[k+1]}].n -= n
		}
		out := w[:0]
		for k := 0; k < len(w); k++ {
			if k+1 < len(w) && w[k] == pair[0] && w[k+1] == pair[1] {
				out = append(out, id)
				k++
				continue
			}
			out = append(out, w[k])
		}
		t.words[i] = out
		for k := range len(out) - 1 {
			p := [2]int32{out[k], out[k+1]}
			t.add(p, i, n)
			if p[0] == id || p[1] == id {
				fresh[p] = struct{}{}
			}
		}
	}
	delete(t.pairs, pair)
	for p := range fresh {
		if c := t.pairs[p]; c != nil {
			heap.Push(&t.queue, pairEntry{p, c.n})
		}
	}
}
