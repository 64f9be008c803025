package tokenizer

import "container/heap"

// symbol is a node of the list of a word's pieces.
type symbol struct {
	id         int32
	prev, next int // -1 at the ends; id is -1 once merged away
}

// candidate is a possible merge of a symbol with its next.
type candidate struct {
	rank, left, right int32 // ids when it was found
	at                int
	id                int32
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	old := *c
	x := old[len(old)-1]
	*c = old[:len(old)-1]
	return x
}

// byteLevel writes a word with the characters that stand for its bytes.
func byteLevel(w string) string {
	tok := make([]rune, 0, len(w))
	for i := range len(w) {
		tok = append(tok, byteRune[w[i]])
	}
	return string(tok)
}

// byteSymbols returns the bytes of a word as a list of tokens. A byte that the vocabulary lacks is dropped.
func (t *Tokenizer) byteSymbols(w string) []symbol {
	syms := make([]symbol, 0, len(w))
	for i := range len(w) {
		if id := t.bytes[w[i]]; id >= 0 {
			syms = append(syms, symbol{id, len(syms) - 1, len(syms) + 1})
		}
	}
	return syms
}

// bpe appends the tokens of one word: its bytes or characters, joined by the merge of lowest rank, leftmost first, as
// long as there is one.
func (t *Tokenizer) bpe(ids []int32, w string) []int32 {
	if t.whole {
		tok := w
		if t.pieces == nil {
			tok = byteLevel(w)
		}
		if id, ok := t.ids[tok]; ok {
			return append(ids, id)
		}
	}
	var syms []symbol
	if t.pieces != nil {
		syms = t.symbols(w)
	} else {
		syms = t.byteSymbols(w)
	}
	if len(syms) == 0 {
		return ids
	}
	syms[len(syms)-1].next = -1
	var c candidates
	look := func(i int) {
		if i < 0 || syms[i].next < 0 {
			return
		}
		l, r := syms[i].id, syms[syms[i].next].id
		if m, ok := t.merges[[2]int32{l, r}]; ok {
			heap.Push(&c, candidate{m.rank, l, r, i, m.id})
		}
	}
	for i := range syms {
		look(i)
	}
	for c.Len() > 0 {
		m := heap.Pop(&c).(candidate)
		s := &syms[m.at]
		if s.id != m.left || s.next < 0 || syms[s.next].id != m.right {
			continue // one of the two is gone
		}
		n := &syms[s.next]
		n.id = -1
		s.id, s.next = m.id, n.next
		if s.next >= 0 {
			syms[s.next].prev = m.at
		}
		look(s.prev)
		look(m.at)
	}
	for i := 0; i >= 0; i = syms[i].next {
		ids = append(ids, syms[i].id)
	}
	return ids
}
