package peft

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed report.html
var reportPage string

// reportData is what the page shows. Rows and columns of both tables are the sets in order of name; the rows of the first
// begin with the background, the columns of the second end with the texts that belong to no set.
type reportData struct {
	Made    string
	Version string
	Sets    []*SetInfo
	Texts   []string
	Changes [][]reportCell // [text][set]
	Foreign []string
	Fires   [][]reportCell // [set][text]
	Bars    []reportBar
	History []reportRevisions
}

type reportCell struct {
	Text  string
	Title string
	Class string // "good", "bad", "own" or empty
}

// reportBar is one set's own text with and without it, in per cent of the larger perplexity of all.
type reportBar struct {
	Name         string
	Off, On      float64
	OffAt, OnAt  float64
	Y, YOn, YOff int
}

type reportRevisions struct {
	Name      string
	Revisions []reportRevision
}

type reportRevision struct {
	Number  int
	Created string
	What    string
	Own     string
	Gate    string
	Worst   string
}

// WriteReport writes one HTML page, complete in itself, about all sets: what each did to the text of the others, on which
// text its gate fires, and its history. It measures nothing; it shows what the revisions' manifests keep.
func (e *Engine) WriteReport(w io.Writer) error {
	page, err := template.New("report").Parse(reportPage)
	if err != nil {
		return fmt.Errorf("peft: report: %w", err)
	}
	d := &reportData{Made: time.Now().Format(time.DateTime), Version: Version()}
	names, err := e.List()
	if err != nil {
		return err
	}
	for _, n := range names {
		s, err := e.Show(n.Name)
		if err != nil {
			return err
		}
		d.Sets = append(d.Sets, s)
		all, err := e.History(n.Name)
		if err != nil {
			return err
		}
		d.addHistory(all)
	}
	d.addChanges()
	d.addFires()
	d.addBars()
	if err := page.Execute(w, d); err != nil {
		return fmt.Errorf("peft: report: %w", err)
	}
	return nil
}

// nameOf returns a text's name without its revision.
func nameOf(text string) string {
	name, _, _ := strings.Cut(text, "@")
	return name
}

func percent(x float64) string { return fmt.Sprintf("%+.2f %%", 100*x) }

func (d *reportData) addChanges() {
	d.Texts = []string{"background"}
	for _, s := range d.Sets {
		d.Texts = append(d.Texts, s.Name)
	}
	for _, text := range d.Texts {
		row := make([]reportCell, len(d.Sets))
		for i, s := range d.Sets {
			row[i] = reportCell{Text: "–", Title: "not measured: the set was there before this text"}
			if s.Training == nil {
				row[i].Title = "the set was never trained"
			}
			if s.Forgetting == nil {
				continue
			}
			for _, t := range s.Forgetting.Texts {
				own := t.Text == "own" && text == s.Name
				if own || t.Text != "own" && nameOf(t.Text) == text {
					row[i] = changeCell(t, own)
				}
			}
		}
		d.Changes = append(d.Changes, row)
	}
}

func changeCell(t TextChange, own bool) reportCell {
	c := reportCell{Text: percent(t.Change()), Title: fmt.Sprintf("perplexity off %.2f; this set alone forced on %.2f; the text's own set on %.2f, with this one beside it %.2f; auto %.2f → %.2f; the gate fires on %.1f %% of it; %d tokens",
		t.Off, t.Alone, t.On[0], t.On[1], t.Auto[0], t.Auto[1], 100*t.Fired[1], t.Tokens)}
	switch {
	case own:
		c.Class = "own"
	case t.Change() > 0.001:
		c.Class = "bad"
	case t.Change() <= 0:
		c.Class = "good"
	}
	return c
}

func (d *reportData) addFires() {
	d.Foreign = []string{"background", "passages", "questions"}
	for _, s := range d.Sets {
		row := make([]reportCell, 0, len(d.Sets)+len(d.Foreign))
		texts := make([]string, 0, cap(row))
		for _, o := range d.Sets {
			texts = append(texts, o.Name)
		}
		for _, text := range append(texts, d.Foreign...) {
			c := reportCell{Text: "–", Title: "not measured"}
			if s.Gate != nil {
				if text == s.Name {
					c = fireCell(s.Gate.Own, true)
				}
				for _, f := range append(s.Gate.Others[:len(s.Gate.Others):len(s.Gate.Others)], s.Newer...) {
					if nameOf(f.Text) == text && text != s.Name {
						c = fireCell(f, false)
					}
				}
			}
			row = append(row, c)
		}
		d.Fires = append(d.Fires, row)
	}
}

func fireCell(f FireRate, own bool) reportCell {
	c := reportCell{Text: fmt.Sprintf("%.1f %%", 100*f.Rate()), Title: fmt.Sprintf("%d of %d sequences", f.Fired, f.Sequences), Class: "good"}
	switch {
	case own && f.Rate() < gateOwnRate, !own && f.Rate() > gateAlpha:
		c.Class = "bad"
	case own:
		c.Class = "own"
	}
	return c
}

// rowHeight is a set's share of the chart, in its units.
const rowHeight = 44

func (d *reportData) addBars() {
	most := 0.0
	for _, s := range d.Sets {
		if s.Forgetting == nil || len(s.Forgetting.Texts) == 0 || s.Forgetting.Texts[0].Text != "own" {
			continue
		}
		own := s.Forgetting.Texts[0]
		y := rowHeight * len(d.Bars)
		d.Bars = append(d.Bars, reportBar{Name: s.Name, Off: own.Off, On: own.Alone, Y: y + 12, YOff: y + 17, YOn: y + 29})
		most = max(most, own.Off, own.Alone)
	}
	for i := range d.Bars {
		b := &d.Bars[i]
		b.OffAt, b.OnAt = math.Round(4800*b.Off/most)/10, math.Round(4800*b.On/most)/10
	}
}

// ChartHeight is the chart's height in its units.
func (d *reportData) ChartHeight() int { return rowHeight * len(d.Bars) }

func (d *reportData) addHistory(all []*SetInfo) {
	h := reportRevisions{Name: all[0].Name}
	for _, s := range all {
		r := reportRevision{Number: s.Revision, Created: s.Created.Local().Format(time.DateTime), What: "added", Own: "–", Gate: "–", Worst: "–"}
		if tr := s.Training; tr != nil {
			r.What = fmt.Sprintf("%d steps, %d tokens", tr.Steps, tr.Tokens)
			r.Own = fmt.Sprintf("%.2f → %.2f", tr.Before.Target, tr.After.Target)
		}
		if s.Gate != nil {
			r.Gate = fmt.Sprintf("%.0f %% of %d", 100*s.Gate.Own.Rate(), s.Gate.Own.Sequences)
		}
		if s.Forgetting != nil {
			worst := math.Inf(-1)
			for _, t := range s.Forgetting.Texts {
				if t.Text != "own" && t.Change() > worst {
					worst = t.Change()
					r.Worst = percent(worst) + " on " + t.Text
				}
			}
		}
		h.Revisions = append(h.Revisions, r)
	}
	d.History = append(d.History, h)
}
