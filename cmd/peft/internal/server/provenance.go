package server

import (
	"strings"

	"github.com/gopeft/peft"
)

// tokenShare is what each set contributed to a token.
type tokenShare struct {
	Token  string       `json:"token"`
	Shares []peft.Share `json:"shares"`
}

// contributed is the extension of an answer that tells what each set contributed and what the gates found.
func (a *answer) contributed(res *peft.GenerateResult, tokens []peft.Token) map[string]any {
	m := map[string]any{"sets": orEmpty(res.Shares), "gates": orEmpty(res.Gates)}
	if a.each && tokens != nil {
		m["tokens"] = a.tokenShares(tokens)
	}
	return m
}

func (a *answer) tokenShares(tokens []peft.Token) []tokenShare {
	list := make([]tokenShare, len(tokens))
	for i, t := range tokens {
		list[i] = tokenShare{strings.ToValidUTF8(t.Text, "\ufffd"), orEmpty(t.Shares)}
	}
	return list
}

// orEmpty makes a list of none, so that it is written as one.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
