package batch

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrBusy reports a full queue; errors that wrap it are *BusyError.
var ErrBusy = errors.New("too many requests are waiting")

// BusyError says when a place in the queue may be free.
type BusyError struct {
	Waiting    int
	RetryAfter time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%d requests are waiting already; try again in %s: %v", e.Waiting, e.RetryAfter.Round(time.Second), ErrBusy)
}

// Unwrap returns ErrBusy.
func (e *BusyError) Unwrap() error { return ErrBusy }

// queue is sequences that wait: of each client one after the other, of the clients in turn.
type queue struct {
	clients []*line // whose turn it is first
	n       int
}

// line is one client's.
type line struct {
	client string
	seqs   []*sequence
}

func (q *queue) push(s *sequence) {
	q.n++
	for _, l := range q.clients {
		if l.client == s.Client {
			l.seqs = append(l.seqs, s)
			return
		}
	}
	q.clients = append(q.clients, &line{s.Client, []*sequence{s}})
}

// pop returns the next, nil when none waits.
func (q *queue) pop() *sequence {
	if q.n == 0 {
		return nil
	}
	q.n--
	l := q.clients[0]
	q.clients = q.clients[1:]
	s := l.seqs[0]
	if l.seqs = l.seqs[1:]; len(l.seqs) > 0 {
		q.clients = append(q.clients, l)
	}
	return s
}

// remove takes one out, which may not be there any more.
func (q *queue) remove(s *sequence) {
	for c, l := range q.clients {
		if i := slices.Index(l.seqs, s); i >= 0 {
			q.n--
			if l.seqs = slices.Delete(l.seqs, i, i+1); len(l.seqs) == 0 {
				q.clients = slices.Delete(q.clients, c, c+1)
			}
			return
		}
	}
}
