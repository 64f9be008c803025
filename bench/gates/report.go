package main

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/bench/internal/study"
)

// report writes the figures and the section.
func report(s *study.Study, domains, texts []*text) error {
	results := map[string][]judged{}
	var own, all []string
	for _, t := range texts {
		all = append(all, t.name)
	}
	for _, d := range domains {
		own = append(own, d.name)
		r, ok, err := study.Get[[]judged](s, d.name)
		if err != nil {
			return err
		}
		if ok {
			results[d.name] = r
		}
	}
	if len(results) == 0 {
		return nil
	}
	if err := s.Publish(); err != nil {
		return err
	}
	return s.Section(fmt.Sprintf("## Gates on text that they do not know\n\nMeasured by `go run ./bench/gates` (%s); raw figures in [gates.json](gates.json). Every set has the base to itself: its gate knows its own text, the base's own words, the passages and the questions, and none of the other texts. Per cent of the prompts on which it fires and, in brackets, on which it would by its score and distance, and by its score alone. Prompts are questions of records, and %d tokens of other text.\n\n%s\nThe same prompts, each as a user's message in the base's chat template, in which no set's own text was when its gate was made:\n\n%s",
		s.Machine(), promptTokens, table(results, own, all, false), table(results, own, all, true)))
}

// table has a row for each gate, and at its end how often it fires on what is not its own.
func table(results map[string][]judged, domains, all []string, chat bool) string {
	var t strings.Builder
	fmt.Fprintf(&t, "| gate of | %s | all but its own |\n|---|%s---|\n", strings.Join(all, " | "), strings.Repeat("---|", len(all)))
	for _, d := range domains {
		if results[d] == nil {
			continue
		}
		fmt.Fprintf(&t, "| %s |", d)
		var others judged
		for _, name := range all {
			cell := ""
			for _, j := range results[d] {
				if j.Text != name || j.Chat != chat {
					continue
				}
				cell = rates(j)
				if name == d {
					cell = "**" + cell + "**"
				} else {
					others.add(j)
				}
			}
			fmt.Fprintf(&t, " %s |", cell)
		}
		fmt.Fprintf(&t, " %s |\n", rates(others))
	}
	return t.String()
}

func rates(j judged) string {
	if j.Prompts == 0 {
		return ""
	}
	share := func(prompts int) float64 { return 100 * float64(prompts) / float64(j.Prompts) }
	return fmt.Sprintf("%.1f (%.1f, %.1f)", share(j.Fired), share(j.Fired+j.Vain), share(j.Fired+j.Vain+j.Unlike))
}

func (j *judged) add(more judged) {
	j.Prompts, j.Fired = j.Prompts+more.Prompts, j.Fired+more.Fired
	j.Unlike, j.Vain = j.Unlike+more.Unlike, j.Vain+more.Vain
}
