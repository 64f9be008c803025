package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/bench/internal/study"
)

// scores say how the test texts of one task were sorted.
type scores struct {
	Samples int            `json:"samples"`
	Right   string         `json:"right"`           // a digit for each sample: 1 where it got its label, of all there are
	Within  string         `json:"within"`          // likewise, of the task's own labels
	Fired   map[string]int `json:"fired,omitempty"` // samples by the sets whose gates fired, joined by +
	Seconds float64        `json:"seconds"`
}

// learn trains the sets of a sequence one after the other, and measures after each.
func (b *bench) learn(ctx context.Context, s sequence) (err error) {
	e, err := b.Registry(ctx, "sets-"+s.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	for i, t := range s.tasks {
		_, err := study.Do(ctx, b.Study, s.name+"/train/"+t.name, func() (study.Trained, error) {
			return study.Train(ctx, e, t.name, b.options(b.share(t), b.file(t)))
		})
		if err != nil {
			return err
		}
		for _, seen := range s.tasks[:i+1] {
			if err := b.score(ctx, e, afterKey(s, i, seen), seen, peft.LogitsOptions{Auto: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ways measures the sets of a sequence with their gates set anew, and without gates.
func (b *bench) ways(ctx context.Context, s sequence) (err error) {
	e, err := b.Registry(ctx, "sets-"+s.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	var names []string
	for _, t := range s.tasks {
		names = append(names, t.name)
	}
	if _, err = study.Do(ctx, b.Study, s.name+"/gates", func() (bool, error) {
		for _, n := range names {
			if _, err := e.Regate(ctx, n); err != nil {
				return false, err
			}
		}
		return true, nil
	}); err != nil {
		return err
	}
	for _, t := range s.tasks {
		for _, m := range []struct {
			mode string
			o    peft.LogitsOptions
		}{{"known", peft.LogitsOptions{Sets: []string{t.name}}}, {"regated", peft.LogitsOptions{Auto: true}}, {"all", peft.LogitsOptions{Sets: names}}} {
			if err := b.score(ctx, e, s.name+"/"+m.mode+"/"+t.name, t, m.o); err != nil {
				return err
			}
		}
	}
	return nil
}

func afterKey(s sequence, i int, t task) string {
	return fmt.Sprintf("%s/after-%d/%s", s.name, i+1, t.name)
}

// share returns a task's steps: a data set has the same in all, into however many tasks it is divided.
func (b *bench) share(t task) int { return b.Steps * len(t.words) / len(wordsOf(t.data)) }

// wordsOf returns all labels of a data set.
func wordsOf(data string) []string {
	i := slices.IndexFunc(sequences[0].tasks, func(t task) bool { return t.data == data })
	return sequences[0].tasks[i].words
}

func (b *bench) options(steps int, files ...string) peft.FinetuneOptions {
	return peft.FinetuneOptions{Data: files, Steps: steps, Seed: b.Seed, ReportTokens: -1}
}

// joint measures the base, and one set that is trained on all data sets mixed for as many steps as the others together.
func (b *bench) joint(ctx context.Context) (err error) {
	e, err := b.Registry(ctx, "joint")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	tasks := sequences[0].tasks
	var files []string
	for _, t := range tasks {
		files = append(files, b.file(t))
	}
	if _, err := study.Do(ctx, b.Study, "joint/train", func() (study.Trained, error) {
		return study.Train(ctx, e, "joint", b.options(len(tasks)*b.Steps, files...))
	}); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := b.score(ctx, e, "joint/"+t.name, t, peft.LogitsOptions{Sets: []string{"joint"}}); err != nil {
			return err
		}
	}
	for _, t := range tasks {
		if err := b.score(ctx, e, "base/"+t.name, t, peft.LogitsOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// top is among how many next tokens a label is looked for; one that is not among them is not chosen.
const top = 2048

// score sorts a task's test texts.
func (b *bench) score(ctx context.Context, e *peft.Engine, key string, t task, o peft.LogitsOptions) error {
	_, err := study.Do(ctx, b.Study, key, func() (*scores, error) {
		r, start := &scores{Fired: map[string]int{}}, time.Now()
		for _, s := range only(b.data[t.data].test, t.words) {
			o.Text, o.Top = s.prompt, top
			l, err := e.Logits(ctx, o)
			if err != nil {
				return nil, err
			}
			r.add(t, s, func(among []string) string {
				for _, g := range l.Top {
					if w, ok := strings.CutPrefix(g.Token, " "); ok && slices.Contains(among, w) {
						return w
					}
				}
				return ""
			})
			if o.Auto {
				r.Fired[firedSets(l.Fired)]++
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		r.Seconds = time.Since(start).Seconds()
		return r, nil
	})
	return err
}

// add counts one sample by what is the best of some words.
func (r *scores) add(t task, s sample, best func(among []string) string) {
	digit := map[bool]string{true: "1", false: "0"}
	r.Samples++
	r.Right += digit[best(words) == s.word]
	r.Within += digit[best(t.words) == s.word]
}

// firedSets names the sets whose gates fired on one text.
func firedSets(all []peft.Fired) string {
	var on []string
	for _, f := range all {
		if f.Sequences > 0 {
			name, _, _ := strings.Cut(f.Set, "@")
			on = append(on, name)
		}
	}
	if len(on) == 0 {
		return "none"
	}
	return strings.Join(on, "+")
}
