package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// jobStreams is how many clients ask, each again when it has its answer.
const jobStreams = 4

// stepTokens is how many tokens a step of the training has.
const stepTokens = 1024

// job measures steady traffic by itself, with a set in training beside it, and the training by itself.
func (b *bench) job(ctx context.Context, r *result) (err error) {
	dir, err := b.few(ctx)
	if err != nil {
		return err
	}
	s, err := b.serve(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	alone, beside, training := row{Name: "answers alone", Streams: jobStreams}, row{Name: "answers beside training", Streams: jobStreams}, row{Name: "training alone"}
	for round := range b.rounds {
		if err := b.traffic(ctx, s, uint64(2*round), &alone); err != nil {
			return err
		}
		name := fmt.Sprintf("job%d-%d", round, time.Now().Unix())
		j, err := train(ctx, s, name)
		if err != nil {
			return err
		}
		from, at := j.steps.Load(), time.Now()
		if err := b.traffic(ctx, s, uint64(2*round+1), &beside); err != nil {
			return err
		}
		beside.add("steps a minute", float64(j.steps.Load()-from)/time.Since(at).Minutes())
		from, at = j.steps.Load(), time.Now()
		select {
		case <-time.After(b.window):
		case <-ctx.Done():
			return ctx.Err()
		}
		training.add("steps a minute", float64(j.steps.Load()-from)/time.Since(at).Minutes())
		if err := j.cancel(ctx); err != nil {
			return err
		}
	}
	r.Rows = append(r.Rows, alone, beside, training)
	return nil
}

// traffic asks for a while and notes the rate of the answers and the gaps within them.
func (b *bench) traffic(ctx context.Context, s *server, seed uint64, o *row) error {
	var mu sync.Mutex
	var all []*answer
	errs := make([]error, jobStreams)
	end := time.Now().Add(b.window)
	var wg sync.WaitGroup
	for i := range jobStreams {
		wg.Go(func() {
			for n := uint64(0); time.Now().Before(end); n++ {
				a, err := ask(ctx, s, question{setNames[i%len(setNames)], prompt(70000+seed*1000+uint64(i)*100+n, shortPrompt), b.tokens})
				if err != nil {
					errs[i] = err
					return
				}
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var gaps, first []float64
	for _, a := range all {
		first = append(first, a.first())
		for i, t := range a.parts[1:] {
			gaps = append(gaps, t.Sub(a.parts[i]).Seconds())
		}
	}
	slices.Sort(gaps)
	o.add(tokensASecond, rate(all))
	o.add("first token, s", median(first))
	o.add("median gap, s", median(gaps))
	o.add("99 % of gaps, s", gaps[len(gaps)*99/100])
	o.add("longest gap, s", gaps[len(gaps)-1])
	return nil
}

// training is a job that runs.
type training struct {
	s     *server
	id    string
	steps atomic.Int64
	ended chan error // the stream of its events
}

// train starts a job that trains a new set, and returns when it has done a step.
func train(ctx context.Context, s *server, name string) (*training, error) {
	var j struct{ ID string }
	err := call(ctx, http.MethodPost, s.url+"/peft/v1/jobs", map[string]any{
		"name": name, "data": []map[string]string{{"name": name + ".txt", "content": prompt(5, 8000)}},
		"options": map[string]any{"steps": 100000, "experts": 500, "batch_tokens": stepTokens, "report_tokens": -1, "eval_every": 100000},
	}, &j)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/peft/v1/jobs/"+j.ID+"/events", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // follow's goroutine closes it
	if err != nil {
		return nil, err
	}
	t := &training{s: s, id: j.ID, ended: make(chan error, 1)}
	began := make(chan bool)
	go func() {
		defer resp.Body.Close()
		t.ended <- t.follow(resp.Body, began)
	}()
	select {
	case <-began:
		return t, nil
	case err := <-t.ended:
		return nil, errors.Join(fmt.Errorf("job %s ended before its first step", j.ID), err)
	}
}

// follow counts the steps that a stream of events tells of, and closes began at the first.
func (t *training) follow(r io.Reader, began chan<- bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e struct {
			Step *struct{}
			Done int64
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("event %s: %w", data, err)
		}
		if e.Step != nil && t.steps.Swap(e.Done) == 0 {
			close(began)
		}
	}
	return lines.Err()
}

// cancel ends the job and waits until it has ended.
func (t *training) cancel(ctx context.Context) error {
	if err := call(ctx, http.MethodPost, t.s.url+"/peft/v1/jobs/"+t.id+"/cancel", nil, nil); err != nil {
		return err
	}
	return <-t.ended
}

// call makes a call of peft's own.
func call(ctx context.Context, method, url string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, said)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}
