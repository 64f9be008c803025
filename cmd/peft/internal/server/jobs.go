package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/registry"
)

// States of a job. A job that is running when the server ends is running still for those that read its record, and goes on
// when the server starts again.
const (
	queued    = "queued"
	running   = "running"
	done      = "done"
	failed    = "failed"
	cancelled = "cancelled"
)

// job is the training of one set.
type job struct {
	ID       string               `json:"id"`
	Set      string               `json:"set"`
	Data     []string             `json:"data"` // uploaded files
	Options  trainingOptions      `json:"options"`
	State    string               `json:"state"`
	Created  time.Time            `json:"created"`
	Started  *time.Time           `json:"started,omitempty"`
	Finished *time.Time           `json:"finished,omitempty"`
	Parent   int                  `json:"parent"`             // the set's revision when it began; 0 for a new set
	Revision int                  `json:"revision,omitempty"` // that it made
	Resumed  int                  `json:"resumed,omitempty"`  // how often a server that started went on with it
	Error    string               `json:"error,omitempty"`
	Warnings []string             `json:"warnings,omitempty"`
	Progress *peft.Progress       `json:"progress,omitempty"` // the last
	Result   *peft.FinetuneResult `json:"result,omitempty"`
}

func (j *job) ended() bool { return j.Finished != nil }

// errCancelled is why a job's context ended when a caller wanted it.
var errCancelled = errors.New("the job was cancelled")

// jobs trains one set at a time, in the order in which they came. Each job is a record and a log of events in dir.
type jobs struct {
	s    *Server
	dir  string
	wake chan struct{}
	stop context.CancelFunc
	over chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	all     []*job                  // in order
	cancel  context.CancelCauseFunc // of the running one
	current *job
	log     *os.File      // of the running one
	changed chan struct{} // closed at the next event of any
}

// openJobs reads the records; start goes on with what is not ended.
func openJobs(s *Server, dir string) (*jobs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	q := &jobs{s: s, dir: dir, wake: make(chan struct{}, 1), over: make(chan struct{}), changed: make(chan struct{})}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("jobs: %w", err)
		}
		j := new(job)
		if err := json.Unmarshal(b, j); err != nil {
			return nil, fmt.Errorf("jobs: record %s: %w; move it away to start without it", f, err)
		}
		q.all = append(q.all, j)
	}
	slices.SortFunc(q.all, func(a, b *job) int { return strings.Compare(a.ID, b.ID) })
	return q, nil
}

func (q *jobs) start() {
	ctx, stop := context.WithCancel(context.Background())
	q.stop = stop
	go func() {
		defer close(q.over)
		for {
			if j := q.next(); j != nil {
				q.run(ctx, j)
			}
			if ctx.Err() != nil {
				return
			}
			if q.next() != nil {
				continue
			}
			select {
			case <-q.wake:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// close interrupts the running job, which leaves a checkpoint, and waits for it.
func (q *jobs) close() {
	q.stop()
	<-q.over
}

func (q *jobs) next() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.all {
		if !j.ended() {
			return j
		}
	}
	return nil
}

// add queues a training.
func (q *jobs) add(set string, data []string, o trainingOptions) (job, error) {
	f, err := o.finetune(q.s.uploads, data)
	if err != nil {
		return job{}, err
	}
	if err := q.s.e.CheckFinetune(set, f); err != nil {
		return job{}, refused(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	last := 0
	if n := len(q.all); n > 0 {
		if _, err := fmt.Sscanf(q.all[n-1].ID, "%d", &last); err != nil {
			return job{}, fmt.Errorf("jobs: number of %q: %w", q.all[n-1].ID, err)
		}
	}
	j := &job{ID: fmt.Sprintf("%06d", last+1), Set: set, Data: data, Options: o, State: queued, Created: time.Now().UTC()}
	if err := q.save(j); err != nil {
		return job{}, err
	}
	q.all = append(q.all, j)
	q.tell()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return *j, nil
}

func (q *jobs) list() []job {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]job, len(q.all))
	for i, j := range q.all {
		all[i] = *j
	}
	return all
}

// find returns a job and what is closed when there is more to see.
func (q *jobs) find(id string) (job, <-chan struct{}, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j, err := q.byID(id)
	if err != nil {
		return job{}, nil, err
	}
	return *j, q.changed, nil
}

func (q *jobs) byID(id string) (*job, error) {
	for _, j := range q.all {
		if j.ID == id {
			return j, nil
		}
	}
	return nil, fmt.Errorf("job %q: %w", id, registry.ErrNotFound)
}

// end cancels a job that has not ended.
func (q *jobs) end(id string) (job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j, err := q.byID(id)
	if err != nil {
		return job{}, err
	}
	if j.ended() {
		return job{}, conflict("job %s is %s already", id, j.State)
	}
	if j == q.current {
		q.cancel(errCancelled)
		return *j, nil
	}
	q.finish(j, cancelled, nil)
	return *j, q.save(j)
}

// forget deletes the record of a job that has ended.
func (q *jobs) forget(id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	j, err := q.byID(id)
	if err != nil {
		return err
	}
	if !j.ended() {
		return conflict("job %s is %s; cancel it first", id, j.State)
	}
	if err := os.Remove(q.path(j, recordFile)); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	q.all = slices.DeleteFunc(q.all, func(o *job) bool { return o == j })
	if err := os.Remove(q.path(j, logFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("jobs: %w", err)
	}
	return nil
}

// reading returns the job that has not ended and needs an uploaded file, or nothing.
func (q *jobs) reading(file string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.all {
		if !j.ended() && slices.Contains(slices.Concat(j.Data, j.Options.EvalData, j.Options.QuietData), file) {
			return j.ID
		}
	}
	return ""
}

// Files of a job.
const (
	recordFile = ".json"
	logFile    = ".events"
)

func (q *jobs) path(j *job, kind string) string { return filepath.Join(q.dir, j.ID+kind) }

// save writes a job's record, the old or the new one as a whole. Callers hold mu.
func (q *jobs) save(j *job) error {
	b, err := json.MarshalIndent(j, "", "\t")
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	name := q.path(j, recordFile)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return nil
}

// states counts the jobs by state.
func (q *jobs) states() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := map[string]int{queued: 0, running: 0, done: 0, failed: 0, cancelled: 0}
	for _, j := range q.all {
		n[j.State]++
	}
	return n
}
