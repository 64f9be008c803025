package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/registry"
)

// run trains a job's set. When stopped ends, the job stays as it is, for the next start.
func (q *jobs) run(stopped context.Context, j *job) {
	ctx, cancel := context.WithCancelCause(stopped)
	defer cancel(nil)
	again, err := q.begin(j, cancel)
	var r *peft.FinetuneResult
	if err == nil {
		r, err = q.train(ctx, j, again)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	state := done
	switch {
	case err == nil:
		j.Result, j.Revision = r, r.Revision
	case errors.Is(context.Cause(ctx), errCancelled):
		state, err = cancelled, nil
	case stopped.Err() != nil:
		state = running
	default:
		state = failed
	}
	if state != running {
		q.finish(j, state, err)
		if err := q.save(j); err != nil {
			j.Warnings = append(j.Warnings, err.Error())
		}
	}
	q.event("state", j)
	q.current, q.cancel = nil, nil
	if q.log != nil {
		_ = q.log.Close() // what it lacks is lost for lookers-on only
		q.log = nil
	}
}

// finish ends a job. Callers hold mu.
func (q *jobs) finish(j *job, state string, err error) {
	now := time.Now().UTC()
	j.State, j.Finished = state, &now
	if err != nil {
		j.Error = err.Error()
	}
	q.tell()
}

// begin notes that a job runs; again tells that it ran before, in a server that ended.
func (q *jobs) begin(j *job, cancel context.CancelCauseFunc) (again bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.current, q.cancel = j, cancel
	if again = j.State == running; again {
		j.Resumed++
	} else {
		now := time.Now().UTC()
		j.State, j.Started = running, &now
		switch set, err := q.s.e.Show(j.Set); {
		case err == nil:
			j.Parent = set.Revision
		case !errors.Is(err, registry.ErrNotFound):
			return false, err
		}
	}
	if err := q.save(j); err != nil {
		return again, err
	}
	if q.log, err = os.OpenFile(q.path(j, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return again, fmt.Errorf("jobs: %w", err)
	}
	if again {
		_, _ = q.log.WriteString("\n") // after what a killed process may have begun to write
	}
	q.event("state", j)
	return again, nil
}

// train makes the revision, or finds that the server before made it.
func (q *jobs) train(ctx context.Context, j *job, again bool) (*peft.FinetuneResult, error) {
	o, err := j.Options.finetune(q.s.uploads, j.Data)
	if err != nil {
		return nil, err
	}
	if again {
		if r, err := q.made(j); r != nil || err != nil {
			return r, err
		}
		o.Resume = o.Resume || q.s.e.Unfinished(j.Set)
	}
	e := q.s.e.Reporting(q.s.Patient(ctx, func(p peft.Progress) {
		q.mu.Lock()
		defer q.mu.Unlock()
		j.Progress = &p
		q.event("progress", p)
	}), func(msg string) {
		q.mu.Lock()
		defer q.mu.Unlock()
		j.Warnings = append(j.Warnings[:len(j.Warnings):len(j.Warnings)], msg)
	})
	for {
		r, err := e.Finetune(ctx, j.Set, o)
		switch {
		case errors.Is(err, peft.ErrInUse): // by somebody who is not a job
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case again && errors.Is(err, tune.ErrCheckpoint): // of an earlier run: this one had not come to its first
			o.Resume, again = j.Options.Resume, false
		default:
			return r, err
		}
	}
}

// made returns the result of a job whose revision was committed by a server that ended before it could say so.
func (q *jobs) made(j *job) (*peft.FinetuneResult, error) {
	revs, err := q.s.e.History(j.Set)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, r := range revs {
		if t := r.Training; t != nil && r.Parent == j.Parent && r.Created.After(*j.Started) && t.Kept == j.Options.Keep {
			return &peft.FinetuneResult{Name: r.Name, Revision: r.Revision, Steps: t.Steps, TokensPerSecond: t.TokensPerSec, Before: t.Before, After: t.After,
				RouterSHA256: r.RouterSHA256, BaseFingerprint: r.Fingerprint, Forgetting: r.Forgetting}, nil
		}
	}
	return nil, nil
}

// event is a line of a job's log.
type event struct {
	Type string          `json:"type"` // state or progress
	Data json.RawMessage `json:"data"`
}

// event appends to the running job's log and tells who looks on. Callers hold mu.
func (q *jobs) event(kind string, v any) {
	defer q.tell()
	if q.log == nil {
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		return
	}
	if line, err := json.Marshal(event{kind, data}); err == nil {
		_, _ = q.log.Write(append(line, '\n')) // a full disk must not end the training
	}
}

// tell wakes who looks on. Callers hold mu.
func (q *jobs) tell() {
	close(q.changed)
	q.changed = make(chan struct{})
}
