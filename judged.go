package peft

import (
	"context"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
)

// judgedPrompt is what a prompt selects in the rows that are judged.
type judgedPrompt struct {
	after [len(gateLengths)]peer.Sample // see verdict
	rows  int
	all   peer.Sample
}

// read lets the base read prompts, for gates to judge.
func (e *Engine) read(ctx context.Context, b *base.Base, r *storedRouter, task string, texts [][]int32) ([]judgedPrompt, error) {
	all := make([]judgedPrompt, 0, len(texts))
	err := e.sampling(ctx, b, r, texts, func(s *peer.Sampler, from, to int) {
		p := judgedPrompt{rows: to - from, all: s.Sample(from, to)}
		for i, n := range gateLengths {
			p.after[i] = s.Sample(from, min(from+n-1, to))
		}
		all = append(all, p)
		e.progress(Progress{Task: task, Done: len(all), Total: len(texts), Unit: "prompts"})
	})
	return all, err
}

// readOnce is read of prompts that are wanted again for the next set's gate, as other sets' are: the engine keeps what it read of
// the last ones.
func (e *Engine) readOnce(ctx context.Context, b *base.Base, r *storedRouter, task string, texts [][]int32) ([]judgedPrompt, error) {
	all, keys := make([]judgedPrompt, len(texts)), make([]string, len(texts))
	var left []int
	var some [][]int32
	e.mu.Lock()
	for i, t := range texts {
		keys[i] = string(encodeTokens(t))
		var ok bool
		if all[i], ok = e.sets.read.get(keys[i]); !ok {
			left, some = append(left, i), append(some, t)
		}
	}
	e.mu.Unlock()
	if len(some) == 0 {
		return all, nil
	}
	read, err := e.read(ctx, b, r, task, some)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, i := range left {
		all[i] = read[k]
		e.sets.read.put(keys[i], read[k], int64(read[k].size()+len(keys[i])))
	}
	return all, nil
}

// size returns about how many bytes of memory it takes.
func (p *judgedPrompt) size() int { return bytesOf(p.all) + bytesOf(p.after[:]...) }

// bytesOf returns about how many bytes of memory samples take.
func bytesOf(samples ...peer.Sample) (bytes int) {
	for _, sample := range samples {
		for _, hits := range sample {
			bytes += 8 * len(hits)
		}
	}
	return bytes
}
