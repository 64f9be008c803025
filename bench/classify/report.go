package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/gopeft/peft/bench/internal/study"
)

// hits are a method's results on all test texts of a sequence, task by task: 1 where a text got its label.
type hits [][]float64

func digits(s string) []float64 {
	v := make([]float64, len(s))
	for i, c := range s {
		v[i] = float64(c - '0')
	}
	return v
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(max(1, len(v)))
}

// average is the mean of the tasks' accuracies.
func (h hits) average() float64 {
	var sum float64
	for _, t := range h {
		sum += mean(t) / float64(len(h))
	}
	return sum
}

// gap is how much better another method does on average, and the standard error of that over the texts, in points.
func (h hits) gap(other hits) (points, err float64) {
	var variance float64
	for i, t := range h {
		d := make([]float64, len(t))
		for j := range t {
			d[j] = other[i][j] - t[j]
		}
		m := mean(d)
		var square float64
		for _, x := range d {
			square += (x - m) * (x - m)
		}
		n := float64(len(d))
		variance += square / n / n / float64(len(h)*len(h))
	}
	return 100 * (other.average() - h.average()), 100 * math.Sqrt(variance)
}

// page is what is known of one sequence.
type page struct {
	b *bench
	s sequence
}

// scores returns the results of a unit; nil while it is missing. The base and the joint set were measured on whole data
// sets, of which a task takes its part.
func (p page) scores(mode string, t task) (*scores, error) {
	switch mode {
	case "base", "joint":
		for _, whole := range sequences[0].tasks {
			if whole.data != t.data {
				continue
			}
			r, ok, err := study.Get[*scores](p.b.Study, mode+"/"+whole.name)
			if err != nil || !ok {
				return nil, err
			}
			part := &scores{}
			for i, x := range only(p.b.data[t.data].test, whole.words) {
				for _, w := range t.words {
					if x.word == w {
						part.Right += r.Right[i : i+1]
					}
				}
			}
			return part, nil
		}
		return nil, nil
	}
	if i, ok := strings.CutPrefix(mode, "lora-"); ok {
		st, ok, err := study.Get[*loraStage](p.b.Study, p.s.name+"/lora/"+i)
		if err != nil || !ok {
			return nil, err
		}
		return st.Scores[t.name], nil
	}
	r, _, err := study.Get[*scores](p.b.Study, p.s.name+"/"+mode+"/"+t.name)
	return r, err
}

// hits returns a method's results on all tasks; nil while some are missing.
func (p page) hits(mode string, within bool) (hits, error) {
	var h hits
	for _, t := range p.s.tasks {
		r, err := p.scores(mode, t)
		if err != nil || r == nil {
			return nil, err
		}
		if within {
			h = append(h, digits(r.Within))
		} else {
			h = append(h, digits(r.Right))
		}
	}
	return h, nil
}

// backward returns by how many points the earlier tasks became better on average between when they were learned and the
// end; modes are those after each task.
func (p page) backward(modes []string, last string) (points float64, ok bool, err error) {
	n := len(p.s.tasks) - 1
	for i, t := range p.s.tasks[:n] {
		first, err := p.scores(modes[i], t)
		if err != nil || first == nil {
			return 0, false, err
		}
		end, err := p.scores(last, t)
		if err != nil || end == nil {
			return 0, false, err
		}
		points += 100 * (mean(digits(end.Right)) - mean(digits(first.Right))) / float64(n)
	}
	return points, true, nil
}

// stages are the modes after each task.
func (p page) stages(format string) (all []string) {
	for i := range p.s.tasks {
		all = append(all, fmt.Sprintf(format, i+1))
	}
	return all
}

// report writes the figures, the plots and the section of the page from the units that are done.
func (b *bench) report() error {
	if err := b.Publish(); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "## Classification without naming the task\n\nMeasured by `go run ./bench/classify` (%s); raw figures in [classify.json](classify.json). News is AG News with four topics, reviews Amazon with five ratings; texts are cut to %d tokens and followed by the same question. %d steps of 1,024 tokens a data set, %d test texts of each, sorted into all %d labels by the logits of the labels' words; one seed.\n",
		b.Machine(), b.Tokens, b.Steps, b.Samples, len(words))
	if b.Has(loraKey(sequences[0], 0)) {
		fmt.Fprintf(&text, "LoRA is Hugging Face PEFT, r = %d on q and v, rate %g, on the same records for as many steps, always on.\n", b.Rank, b.Rate)
	}
	for _, s := range sequences {
		if err := (page{b, s}).write(&text); err != nil {
			return err
		}
	}
	return b.Section(text.String())
}

// row is a line of a sequence's table.
type row struct {
	name, mode string
	within     bool
}

func (p page) write(text *strings.Builder) error {
	last := len(p.s.tasks)
	stages, lora := p.stages("after-%d"), p.stages("lora-%d")
	rows := []row{
		{"the base alone", "base", false}, {"gates decide", stages[last-1], false}, {"gates decide, set anew in the end", "regated", false},
		{"all sets on", "all", false}, {"the task's set on", "known", false}, {"the task's set on, its labels only", "known", true},
		{"one set for all tasks, mixed", "joint", false}, {"LoRA, one task after the other", lora[last-1], false},
	}
	joint, err := p.hits("joint", false)
	if err != nil {
		return err
	}
	var names []string
	var bars []study.Bar
	for _, t := range p.s.tasks {
		names = append(names, t.name)
	}
	var table strings.Builder
	for _, r := range rows {
		h, err := p.hits(r.mode, r.within)
		if err != nil {
			return err
		}
		if h == nil {
			continue
		}
		bar := study.Bar{Name: r.name}
		fmt.Fprintf(&table, "| %s |", r.name)
		for _, t := range h {
			bar.Values = append(bar.Values, 100*mean(t))
			fmt.Fprintf(&table, " %.1f |", 100*mean(t))
		}
		fmt.Fprintf(&table, " %.1f |", 100*h.average())
		if joint != nil && !r.within && r.mode != "joint" {
			gap, err := h.gap(joint)
			fmt.Fprintf(&table, " %+.1f ± %.1f |\n", gap, err)
		} else {
			table.WriteString(" |\n")
		}
		if r.mode == "base" || r.mode == "regated" || r.mode == "joint" || r.mode == lora[last-1] {
			bars = append(bars, bar)
		}
	}
	if table.Len() == 0 {
		return nil
	}
	file := "classify-" + p.s.name + ".svg"
	if err := p.b.Bars(file, "right, %", names, bars); err != nil {
		return err
	}
	fmt.Fprintf(text, "\n### %s tasks: %s\n\nPer cent of test texts that got their label, and how many points one set trained on all tasks is ahead, where it was trained, with the standard error over the texts.\n\n| | %s | average | behind one set |\n|---|%s---|---|\n%s\n",
		strings.ToUpper(p.s.name[:1])+p.s.name[1:], strings.Join(names, ", then "), strings.Join(names, " | "), strings.Repeat("---|", len(names)), table.String())
	if err := p.writeStages(text, stages, lora); err != nil {
		return err
	}
	fmt.Fprintf(text, "\n![accuracy](%s)\n", file)
	return nil
}

// writeStages writes what became of each task as others were learned.
func (p page) writeStages(text *strings.Builder, stages, lora []string) error {
	names := make([]string, len(p.s.tasks))
	for i, t := range p.s.tasks {
		names[i] = t.name
	}
	fmt.Fprintf(text, "| after | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	var parts []string
	for _, m := range []struct {
		name  string
		modes []string // after each task
		last  string   // in the end
	}{{"gates", stages, stages[len(stages)-1]}, {"gates set anew", stages, "regated"}, {"LoRA", lora, lora[len(lora)-1]}} {
		for i, t := range p.s.tasks {
			mode := m.modes[i]
			if m.last == "regated" {
				if i+1 < len(stages) {
					continue
				}
				mode = m.last
			}
			if err := p.writeStage(text, t.name+", "+m.name, mode, p.s.tasks[:i+1]); err != nil {
				return err
			}
		}
		points, ok, err := p.backward(m.modes, m.last)
		if err != nil {
			return err
		}
		if ok {
			parts = append(parts, fmt.Sprintf("%s %+.1f", m.name, points))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(text, "\nBackward transfer in points: %s.\n", strings.Join(parts, ", "))
	}
	return nil
}

// writeStage writes the accuracies of the tasks so far and, where gates decided, for how many texts which of them fired.
func (p page) writeStage(text *strings.Builder, name, mode string, tasks []task) error {
	line := "| " + name + " |"
	for _, t := range tasks {
		r, err := p.scores(mode, t)
		if err != nil || r == nil {
			return err
		}
		line += fmt.Sprintf(" %.1f", 100*mean(digits(r.Right)))
		if len(r.Fired) > 0 {
			own, none := 100*float64(r.Fired[t.name])/float64(r.Samples), 100*float64(r.Fired["none"])/float64(r.Samples)
			line += fmt.Sprintf("; own set alone on %.0f %%, none %.0f %%", own, none)
		}
		line += " |"
	}
	text.WriteString(line + strings.Repeat(" |", len(p.s.tasks)-len(tasks)) + "\n")
	return nil
}
