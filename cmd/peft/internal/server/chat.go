package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

// defaultChat is the length of an answer in tokens.
const defaultChat = 512

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	if err := s.converse(w, r); err != nil {
		fail(w, err)
	}
}

func (s *Server) converse(w http.ResponseWriter, r *http.Request) error {
	q, err := read(r)
	if err != nil {
		return err
	}
	o, err := s.options(r, q, defaultChat)
	if err != nil {
		return err
	}
	if o.Messages, err = messages(q.Messages); err != nil {
		return err
	}
	b, err := s.e.Base()
	if err != nil {
		return err
	}
	f := &chatForm{id: fmt.Sprintf("chatcmpl-%d", s.ids.Add(1)), t: b.Tokenizer}
	if !absent(q.LogProbs) && json.Unmarshal(q.LogProbs, &f.logProbs) != nil {
		return badRequest("logprobs", "logprobs is %s, want true or false", q.LogProbs)
	}
	if err := among(&f.top, q.TopLogProbs, "top_logprobs", 0, maxLogProbs); err != nil {
		return err
	}
	if f.top > 0 && !f.logProbs {
		return badRequest("top_logprobs", "top_logprobs is %d without logprobs", f.top)
	}
	if f.logProbs {
		o.LogProbs = max(1, f.top)
	}
	a, err := s.newAnswer(q, f, o)
	if err != nil {
		return err
	}
	a.serve(w, r)
	return nil
}

// messages reads chat messages, whose content is a string or a list of text parts.
func messages(raw []json.RawMessage) ([]tokenizer.Message, error) {
	if len(raw) == 0 {
		return nil, badRequest("messages", "no messages")
	}
	list := make([]tokenizer.Message, len(raw))
	for i, b := range raw {
		var m struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, badRequest("messages", "message %d: %w", i, err)
		}
		switch m.Role {
		case "system", "user", "assistant":
		case "developer":
			m.Role = "system"
		default:
			return nil, badRequest("messages", "message %d has role %q, want system, user or assistant", i, m.Role)
		}
		text := ""
		if json.Unmarshal(m.Content, &text) != nil {
			var parts []struct{ Type, Text string }
			if err := json.Unmarshal(m.Content, &parts); err != nil {
				return nil, badRequest("messages", "message %d: content is neither text nor a list of parts", i)
			}
			for _, p := range parts {
				if p.Type != "text" {
					return nil, badRequest("messages", "message %d has a part of type %q; only text is served", i, p.Type)
				}
				text += p.Text
			}
		}
		list[i] = tokenizer.Message{Role: m.Role, Content: text}
	}
	return list, nil
}

// chatForm writes choices that are messages.
type chatForm struct {
	id       string
	t        *tokenizer.Tokenizer
	logProbs bool
	top      int // log-probabilities beside each token's own
}

func (f *chatForm) name() (id, object, chunk string) {
	return f.id, "chat.completion", "chat.completion.chunk"
}
func (f *chatForm) keeps() bool { return f.logProbs }

func (f *chatForm) first(c *choice) any {
	return map[string]any{"index": c.index, "delta": map[string]any{"role": "assistant", "content": ""}, "logprobs": nil, "finish_reason": nil}
}

func (f *chatForm) part(c *choice, text string, tokens []peft.Token) any {
	return map[string]any{"index": c.index, "delta": map[string]any{"content": text}, "logprobs": f.probabilities(tokens), "finish_reason": nil}
}

func (f *chatForm) end(c *choice) any {
	return map[string]any{"index": c.index, "delta": map[string]any{}, "logprobs": nil, "finish_reason": c.res.Stop}
}

func (f *chatForm) whole(c *choice) any {
	message := map[string]any{"role": "assistant", "content": strings.ToValidUTF8(c.text.String(), "\ufffd"), "refusal": nil}
	return map[string]any{"index": c.index, "message": message, "logprobs": f.probabilities(c.tokens), "finish_reason": c.res.Stop}
}

// probability is a token with the natural logarithm of its probability.
type probability struct {
	Token   string        `json:"token"`
	LogProb float64       `json:"logprob"`
	Bytes   []int         `json:"bytes"` // a list of numbers, which []byte would not be
	Top     []probability `json:"top_logprobs,omitzero"`
}

func newProbability(text string, p float64) probability {
	v := probability{Token: strings.ToValidUTF8(text, "\ufffd"), LogProb: p, Bytes: make([]int, len(text))}
	for i := range len(text) {
		v.Bytes[i] = int(text[i])
	}
	return v
}

func (f *chatForm) probabilities(tokens []peft.Token) any {
	if !f.logProbs {
		return nil
	}
	list := []probability{}
	for _, t := range tokens {
		if t.ID < 0 {
			continue
		}
		v := newProbability(f.t.Decode([]int32{t.ID}), t.LogProb)
		v.Top = []probability{}
		for _, other := range t.Top[:min(f.top, len(t.Top))] {
			v.Top = append(v.Top, newProbability(other.Text, other.LogProb))
		}
		list = append(list, v)
	}
	return map[string]any{"content": list, "refusal": nil}
}
