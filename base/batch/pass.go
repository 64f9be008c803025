package batch

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// pass is the memory of passes.
type pass struct {
	s     *Scheduler
	batch llama.Batch
	parts []Part
	turns []turn
	heads []*turn   // whose last rows give tokens
	x     []float32 // [tokens, hidden]
	last  []float32 // [heads, hidden]
	logit []float32 // [heads, vocab]
}

// turn is a sequence's part of a pass.
type turn struct {
	q      *sequence
	rows   int
	read   int       // of them, tokens of the prompt
	hidden []float32 // [rows, hidden], final-normed
	err    error

	token Token // the next one
	eos   bool
}

// run plans a pass, computes it and deals with what came out.
func (p *pass) run() {
	s := p.s
	p.plan()
	p.forward()
	p.next()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Passes++
	for i := range p.turns {
		s.take(&p.turns[i])
	}
	s.stats.CacheTokens = s.prefixes.held
	for _, q := range s.running {
		s.stats.CacheTokens += q.cache.Len
	}
	clear(p.turns)
	clear(p.heads)
	clear(p.parts)
	clear(p.batch.Seqs)
}

// plan gives each sequence that is written a row, and those whose prompts are read equal shares of the rows that are left, so
// that a short prompt does not wait for a long one. Sequences with the same sets are side by side.
func (p *pass) plan() {
	p.turns = p.turns[:0]
	reading := 0
	for _, q := range p.s.running {
		if q.asking {
			continue
		}
		p.turns = append(p.turns, turn{q: q, rows: q.left()})
		if q.left() > 1 {
			reading++
		}
	}
	slices.SortStableFunc(p.turns, func(a, b turn) int { return cmp.Compare(a.rows, b.rows) })
	most := p.s.o.BatchTokens
	room := max(most-(len(p.turns)-reading), most/4, 1)
	for i := range p.turns {
		t := &p.turns[i]
		if t.rows > 1 {
			t.rows = min(t.rows, max(1, room/reading))
			room -= t.rows
			reading--
		}
		t.read = max(0, min(t.rows, len(t.q.Prompt)-t.q.cache.Len))
	}
	slices.SortStableFunc(p.turns, func(a, b turn) int {
		if a.q.looking != b.q.looking {
			return cmp.Compare(order(a.q.looking), order(b.q.looking))
		}
		return cmp.Compare(a.q.sets.Key, b.q.sets.Key)
	})
}

func order(looking bool) int {
	if looking {
		return 1
	}
	return 0
}

// forward computes the rows: in one pass, when seams can be mixed, or one for each. When a pass fails, each of its sequences is
// tried by itself, so that it is known whose fault it was.
func (p *pass) forward() {
	for some := p.turns; len(some) > 0; {
		n := len(some)
		if p.s.o.Mix == nil {
			for n = 1; n < len(some) && some[n].q.seam() == some[0].q.seam(); n++ {
			}
		}
		x, err := p.rows(p.x, some[:n])
		if err == nil {
			p.x = x // the next has its own memory, as these rows are still to be read
			if n < len(p.turns) {
				p.x = nil
			}
		} else if n == 1 {
			some[0].err = err
		} else {
			p.alone(some[:n], err)
		}
		some = some[n:]
	}
}

// alone computes sequences of a pass that failed. What looks has seen part of it and cannot see it again.
func (p *pass) alone(some []turn, err error) {
	for i := range some {
		t := &some[i]
		if t.err = err; !t.q.looking {
			_, t.err = p.rows(nil, some[i:i+1])
		}
	}
}

// rows computes the rows of some sequences in x's memory, where that is enough, and gives each its own.
func (p *pass) rows(x []float32, some []turn) ([]float32, error) {
	m, b := p.s.b.Model, &p.batch
	b.Tokens, b.Seqs, p.parts = b.Tokens[:0], b.Seqs[:0], p.parts[:0]
	var seam llama.Seam
	for _, t := range some {
		c := t.q.cache
		b.Tokens = append(b.Tokens, t.q.ids[c.Len:c.Len+t.rows]...)
		b.Seqs = append(b.Seqs, llama.Seq{Len: t.rows, Cache: c})
		p.parts = append(p.parts, Part{t.q.seam(), t.rows})
		if seam == nil {
			seam = t.q.seam()
		}
	}
	if p.s.o.Mix != nil && seam != nil {
		seam = p.s.o.Mix(p.parts)
	}
	x, err := m.ForwardIn(x, *b, seam)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	at := 0
	for i := range some {
		n := some[i].rows * m.Config.Hidden
		some[i].hidden = x[at : at+n]
		at += n
	}
	return x, nil
}

// next computes the next token of each sequence that was read to its end, logits by one product for all.
func (p *pass) next() {
	m := p.s.b.Model
	h, v := m.Config.Hidden, m.Config.Vocab
	p.heads, p.last = p.heads[:0], p.last[:0]
	for i := range p.turns {
		if t := &p.turns[i]; t.err == nil && t.q.left() == 0 && !t.q.looking && !t.q.mean && t.q.MaxTokens > 0 {
			p.heads = append(p.heads, t)
			p.last = append(p.last, t.hidden[len(t.hidden)-h:]...)
		}
	}
	n := len(p.heads)
	if n == 0 {
		return
	}
	if len(p.logit) < n*v {
		p.logit = make([]float32, n*v)
	}
	m.Logits(p.logit, p.last, n)
	m.Pool().Run(n, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			p.heads[i].choose(p.s.b, p.logit[i*v:(i+1)*v])
		}
	})
}

// choose takes the next token by its logits.
func (t *turn) choose(b *base.Base, logits []float32) {
	q := t.q
	id := q.sampler.Next(logits)
	t.token, t.eos = Token{ID: id}, b.Tokenizer.IsEOS(id)
	if q.LogProbs > 0 && !t.eos {
		t.token.LogProb, t.token.Top = base.LogProbs(logits, id, q.LogProbs)
	}
	if q.sets.Note != nil {
		t.token.Note = q.sets.Note()
	}
}

// take does with a sequence what its part of a pass asks for. The lock is held.
func (s *Scheduler) take(t *turn) {
	q := t.q
	if t.err != nil {
		q.cache = s.b.Model.NewCache() // what is in it is not sure
		s.end(q, "", t.err)
		return
	}
	s.stats.Prompt += int64(t.read)
	if q.mean {
		q.add(t.hidden, s.b.Model.Config.Hidden)
	}
	switch {
	case q.left() > 0:
	case q.looking:
		s.ask(q)
	case q.mean || q.MaxTokens <= 0:
		s.end(q, base.StopLength, nil)
	case t.eos:
		s.end(q, base.StopEOS, nil)
	default:
		q.ids = append(q.ids, t.token.ID)
		s.stats.Written++
		q.out.put(t.token)
		if q.written() >= q.MaxTokens || len(q.ids) > s.b.Model.Config.MaxSeq {
			s.end(q, base.StopLength, nil)
		}
	}
}

// add adds up rows of x: [rows, hidden].
func (s *sequence) add(x []float32, hidden int) {
	if s.sum == nil {
		s.sum = make([]float64, hidden)
	}
	for i, v := range x {
		s.sum[i%hidden] += float64(v)
	}
}
