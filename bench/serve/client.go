package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// answer is what a client saw of one: when it asked and when each part came.
type answer struct {
	asked  time.Time
	parts  []time.Time // of text
	tokens int         // as the server counts them
}

// first is the time to the first token, in seconds.
func (a *answer) first() float64 { return a.parts[0].Sub(a.asked).Seconds() }

// gap is the longest time between two parts that came from from on, in seconds.
func (a *answer) gap(from, to time.Time) float64 {
	most := time.Duration(0)
	for i, t := range a.parts[1:] {
		if before := a.parts[i]; t.After(from) && before.Before(to) {
			most = max(most, t.Sub(before))
		}
	}
	return most.Seconds()
}

// rate is the tokens a second of answers that were written together, from the first question to the last part.
func rate(all []*answer) float64 {
	from, to, n := all[0].asked, time.Time{}, 0
	for _, a := range all {
		if a.asked.Before(from) {
			from = a.asked
		}
		if end := a.parts[len(a.parts)-1]; end.After(to) {
			to = end
		}
		n += a.tokens
	}
	return float64(n) / to.Sub(from).Seconds()
}

// question is a request for a completion.
type question struct {
	model, prompt string
	tokens        int // of the answer, exactly
}

// client has a connection for each request: a server may close one that was idle just when it is used again.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask has a server answer, greedily and to the last token: those that end a text are made improbable for OpenAI's protocol, and
// ignore_eos is llama.cpp's word for it.
func ask(ctx context.Context, s *server, q question) (*answer, error) {
	body, err := json.Marshal(map[string]any{
		"model": q.model, "prompt": q.prompt, "max_tokens": q.tokens, "temperature": 0, "logit_bias": s.never, "ignore_eos": true, "stream": true,
		"stream_options": map[string]any{"include_usage": true},
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	a := &answer{asked: time.Now()}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return nil, fmt.Errorf("%s: %s: %s", req.URL, resp.Status, said)
	}
	if err := a.read(resp.Body); err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL, err)
	}
	return a, nil
}

// read reads a stream of events.
func (a *answer) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var part struct {
			Choices []struct {
				Text string `json:"text"`
			} `json:"choices"`
			Usage *struct {
				Completion int `json:"completion_tokens"`
			} `json:"usage"`
		}
		if err := json.Unmarshal([]byte(data), &part); err != nil {
			return fmt.Errorf("event %s: %w", data, err)
		}
		if len(part.Choices) > 0 && part.Choices[0].Text != "" {
			a.parts = append(a.parts, time.Now())
		}
		if part.Usage != nil {
			a.tokens = part.Usage.Completion
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(a.parts) == 0 || a.tokens == 0 {
		return errors.New("an answer without text or without usage")
	}
	return nil
}

// together asks questions at once.
func together(ctx context.Context, s *server, qs []question) ([]*answer, error) {
	all, errs := make([]*answer, len(qs)), make([]error, len(qs))
	var wg sync.WaitGroup
	for i, q := range qs {
		wg.Go(func() {
			if all[i], errs[i] = ask(ctx, s, q); errs[i] == nil && all[i].tokens != q.tokens {
				errs[i] = fmt.Errorf("%s answered %d tokens, want %d", s.url, all[i].tokens, q.tokens)
			}
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// words are what prompts are made of.
var words = strings.Fields("A new tenant asked the library for every book on clocks and the keeper who had wound the tower clock for thirty years wrote the list by hand it began with sundials went on to water and sand and ended with a pocket watch that nobody had ever repaired twice")

// prompt returns n words in an order that no other seed has, so that no server has read its beginning.
func prompt(seed uint64, n int) string {
	rnd := rand.New(rand.NewPCG(seed, 11))
	some := make([]string, n)
	for i := range some {
		some[i] = words[rnd.IntN(len(words))]
	}
	return strings.Join(some, " ")
}

// shortPrompt is the words of a prompt where it is not the prompt that is measured.
const shortPrompt = 12

// questions returns n, of which each names the next of the models.
func questions(seed uint64, n, tokens int, models ...string) []question {
	qs := make([]question, n)
	for i := range qs {
		qs[i] = question{models[i%len(models)], prompt(seed*1000+uint64(i), shortPrompt), tokens}
	}
	return qs
}
