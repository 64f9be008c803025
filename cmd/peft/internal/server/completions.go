package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

// defaultCompletion is the length of an answer in tokens, as the protocol has it.
const defaultCompletion = 16

func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	if err := s.complete(w, r); err != nil {
		fail(w, err)
	}
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request) error {
	q, err := read(r)
	if err != nil {
		return err
	}
	o, err := s.options(r, q, defaultCompletion)
	if err != nil {
		return err
	}
	b, err := s.e.Base()
	if err != nil {
		return err
	}
	f := &completionForm{id: fmt.Sprintf("cmpl-%d", s.ids.Add(1)), t: b.Tokenizer, top: -1}
	if !absent(q.LogProbs) {
		if json.Unmarshal(q.LogProbs, &f.top) != nil || f.top < 0 || f.top > maxLogProbs {
			return badRequest("logprobs", "logprobs is %s, want a number from 0 to %d", q.LogProbs, maxLogProbs)
		}
		o.LogProbs = max(1, f.top)
	}
	prompts, err := prompts(q.Prompt, o)
	if err != nil {
		return err
	}
	if q.Echo {
		if f.top >= 0 {
			return badRequest("echo", "echo with logprobs is not served: the prompt's tokens have none")
		}
		for _, p := range prompts {
			if p.PromptIDs != nil {
				p.Prompt = b.Tokenizer.Decode(p.PromptIDs)
			}
			f.echo = append(f.echo, p.Prompt)
		}
	}
	a, err := s.newAnswer(q, f, prompts...)
	if err != nil {
		return err
	}
	a.serve(w, r)
	return nil
}

// prompts reads a prompt: a string, a list of strings, a list of token ids, or a list of such lists.
func prompts(raw json.RawMessage, o peft.GenerateOptions) ([]peft.GenerateOptions, error) {
	var text string
	var texts []string
	var ids []int32
	var lists [][]int32
	switch {
	case absent(raw):
		return nil, badRequest("prompt", "there is no prompt")
	case json.Unmarshal(raw, &text) == nil:
		texts = []string{text}
	case json.Unmarshal(raw, &texts) == nil:
	case json.Unmarshal(raw, &ids) == nil:
		texts, lists = nil, [][]int32{ids}
	case json.Unmarshal(raw, &lists) == nil:
		texts = nil
	default:
		return nil, badRequest("prompt", "prompt is neither a string, a list of strings, a list of token ids nor a list of such lists")
	}
	var list []peft.GenerateOptions
	for i, text := range texts {
		if text == "" {
			return nil, badRequest("prompt", "prompt %d is empty", i)
		}
		o.Prompt = text
		list = append(list, o)
	}
	for i, ids := range lists {
		if len(ids) == 0 {
			return nil, badRequest("prompt", "prompt %d is empty", i)
		}
		o.Prompt, o.PromptIDs = "", ids
		list = append(list, o)
	}
	if len(list) == 0 {
		return nil, badRequest("prompt", "the prompt is empty")
	}
	return list, nil
}

// completionForm writes choices of text.
type completionForm struct {
	id   string
	t    *tokenizer.Tokenizer
	top  int      // log-probabilities a token, -1 for none of any
	echo []string // prompts that stand before their answers
}

func (f *completionForm) name() (id, object, chunk string) {
	return f.id, "text_completion", "text_completion"
}
func (f *completionForm) keeps() bool { return f.top >= 0 }

func (f *completionForm) first(c *choice) any {
	if f.echo == nil {
		return nil
	}
	return f.choice(c, f.echo[c.prompt], nil, nil)
}

func (f *completionForm) part(c *choice, text string, tokens []peft.Token) any {
	return f.choice(c, text, nil, tokens)
}

func (f *completionForm) end(c *choice) any { return f.choice(c, "", c.res.Stop, nil) }

func (f *completionForm) whole(c *choice) any {
	text := strings.ToValidUTF8(c.text.String(), "\ufffd")
	if f.echo != nil {
		text = f.echo[c.prompt] + text
	}
	return f.choice(c, text, c.res.Stop, c.tokens)
}

func (f *completionForm) choice(c *choice, text string, finish any, tokens []peft.Token) any {
	v := map[string]any{"index": c.index, "text": text, "finish_reason": finish, "logprobs": nil}
	if f.top < 0 || tokens == nil {
		return v
	}
	var p struct {
		Tokens   []string             `json:"tokens"`
		LogProbs []float64            `json:"token_logprobs"`
		Top      []map[string]float64 `json:"top_logprobs"`
		Offsets  []int                `json:"text_offset"`
	}
	for _, t := range tokens {
		if t.ID < 0 {
			continue
		}
		s := strings.ToValidUTF8(f.t.Decode([]int32{t.ID}), "\ufffd")
		top := map[string]float64{}
		for _, other := range t.Top[:min(f.top, len(t.Top))] {
			top[strings.ToValidUTF8(other.Text, "\ufffd")] = other.LogProb
		}
		p.Tokens, p.LogProbs, p.Top, p.Offsets = append(p.Tokens, s), append(p.LogProbs, t.LogProb), append(p.Top, top), append(p.Offsets, c.offset)
		c.offset += utf8.RuneCountInString(s)
	}
	if len(p.Tokens) > 0 {
		v["logprobs"] = p
	}
	return v
}
