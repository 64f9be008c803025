package peft

import (
	"errors"
	"time"

	"github.com/gopeft/peft/base"
)

// writer makes the result of a generation as its tokens come.
type writer struct {
	res    *GenerateResult
	cut    *cutter
	emit   func(Token) error
	start  time.Time
	shares []Share // sums over the tokens
}

// newWriter starts a generation after so many tokens of a prompt, and sets its default length.
func newWriter(o *GenerateOptions, prompt int, emit func(Token) error) (*writer, error) {
	cut, err := newCutter(o.Stop)
	if o.MaxTokens == 0 {
		o.MaxTokens = 128
	}
	return &writer{res: &GenerateResult{PromptTokens: prompt}, cut: cut, emit: emit, start: time.Now()}, err
}

// add takes a token and the text that it completes, or with ID -1 text that no token completed; errStop ends the text.
func (w *writer) add(t Token) error {
	if t.ID < 0 {
		if t.Text == "" {
			return nil
		}
		t.LogProb, t.Top = 0, nil
	} else {
		if len(w.res.TokenIDs) == 0 {
			w.res.FirstToken = time.Since(w.start).Seconds()
		}
		w.res.TokenIDs = append(w.res.TokenIDs, t.ID)
		w.count(t.Shares)
	}
	var stopped bool
	t.Text, stopped = w.cut.add(t.Text)
	if w.emit != nil {
		if err := w.emit(t); err != nil {
			return err
		}
	}
	if stopped {
		return errStop
	}
	return nil
}

func (w *writer) count(shares []Share) {
	if w.shares == nil {
		w.shares = append(w.shares, shares...)
		return
	}
	for i, s := range shares {
		w.shares[i].Share += s.Share
	}
}

// end returns the result, given why the text ended; its shares are the mean of the tokens'.
func (w *writer) end(stop string, err error, a *auto) (*GenerateResult, error) {
	r := w.res
	if errors.Is(err, errStop) {
		stop, err = base.StopEOS, nil
	} else if err == nil {
		if rest := w.cut.flush(); rest != "" && w.emit != nil {
			err = w.emit(Token{ID: -1, Text: rest})
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range w.shares {
		w.shares[i].Share /= float64(len(r.TokenIDs))
	}
	r.Stop, r.Text, r.Fired, r.Gates, r.Shares = stop, w.cut.text.String(), a.report(), a.gateScores(), w.shares
	r.TokensPerSecond = float64(len(r.TokenIDs)) / time.Since(w.start).Seconds()
	return r, nil
}
