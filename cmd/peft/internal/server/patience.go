package server

import (
	"context"
	"time"

	"github.com/gopeft/peft"
)

// Work in the background waits while requests are answered, but not for ever.
const (
	leastShare = 0.1 // of the time, that it gets beside requests which never end
	lookEvery  = 5 * time.Millisecond
)

// Patient returns a callback for peft.Engine.Reporting that calls report and then, as long as requests are answered, lets the
// work wait between two of its parts: a step of a training, a batch that is measured. ctx is the work's.
func (s *Server) Patient(ctx context.Context, report func(peft.Progress)) func(peft.Progress) {
	since := time.Now()
	return func(p peft.Progress) {
		report(p)
		yield(ctx, time.Since(since), s.batch.Busy)
		since = time.Now()
	}
}

// yield waits while busy, for at most the time after which the work that took so long had its least share.
func yield(ctx context.Context, worked time.Duration, busy func() bool) {
	end := time.Now().Add(time.Duration(float64(worked) * (1/leastShare - 1)))
	for busy() && time.Now().Before(end) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}
