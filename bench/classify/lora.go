package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/gopeft/peft/bench/internal/study"
)

// loraStage is what a stage of LoRA's sequence gave.
type loraStage struct {
	study.Trained
	Scores map[string]*scores `json:"scores"` // of the tasks so far
}

func loraKey(s sequence, i int) string { return s.name + "/lora/" + strconv.Itoa(i+1) }

// lora trains one adapter on a sequence's tasks one after the other.
func (b *bench) lora(ctx context.Context, s sequence) (err error) {
	o := study.LoRA{Rank: b.Rank, Modules: []string{"q_proj", "v_proj"}, Rate: b.Rate, Batch: 1024, Seed: b.Seed, Choose: map[string][]study.Record{}}
	for _, w := range words {
		o.Words = append(o.Words, b.tok.Encode(" "+w, false)[0])
	}
	for i, t := range s.tasks {
		for _, x := range only(b.data[t.data].test, t.words) {
			o.Choose[t.name] = append(o.Choose[t.name], study.Record{Tokens: b.tok.Encode(x.prompt, true)})
		}
		o.Steps = b.share(t)
		o.Save = b.Path("lora-"+s.name, strconv.Itoa(i+1))
		if o.Records, err = study.Records(b.tok, []string{b.file(t)}, true); err != nil {
			return err
		}
		if _, err := study.Do(ctx, b.Study, loraKey(s, i), func() (*loraStage, error) {
			res, err := b.LoRA(ctx, o)
			if err != nil {
				return nil, err
			}
			st := &loraStage{Trained: res.Trained, Scores: map[string]*scores{}}
			for _, seen := range s.tasks[:i+1] {
				r := &scores{}
				for k, x := range only(b.data[seen.data].test, seen.words) {
					logits := res.Chosen[seen.name][k]
					r.add(seen, x, func(among []string) string {
						best := ""
						for j, w := range words {
							if slices.Contains(among, w) && (best == "" || logits[j] > logits[slices.Index(words, best)]) {
								best = w
							}
						}
						return best
					})
				}
				st.Scores[seen.name] = r
			}
			return st, nil
		}); err != nil {
			return err
		}
		o.From = o.Save
	}
	return nil
}
