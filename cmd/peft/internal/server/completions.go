package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

// Default lengths of an answer, in tokens.
const (
	defaultCompletion = 16 // as the protocol has it
	defaultChat       = 512
)

func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	q, err := read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	o, stops, err := s.options(q, defaultCompletion)
	if err == nil {
		err = prompt(q.Prompt, &o)
	}
	if err != nil {
		fail(w, err)
		return
	}
	a := &answer{s: s, q: q, id: fmt.Sprintf("cmpl-%d", s.ids.Add(1)), object: "text_completion", chunk: "text_completion",
		part: func(text string, finish any) any {
			return map[string]any{"index": 0, "text": text, "finish_reason": finish, "logprobs": nil}
		},
		whole: func(text, finish string) any {
			return map[string]any{"index": 0, "text": text, "finish_reason": finish, "logprobs": nil}
		}}
	a.serve(w, r, o, stops)
}

func prompt(raw json.RawMessage, o *peft.GenerateOptions) error {
	var many []string
	if json.Unmarshal(raw, &o.Prompt) != nil {
		if json.Unmarshal(raw, &many) != nil || len(many) != 1 {
			return badRequest("prompt", "prompt must be a string")
		}
		o.Prompt = many[0]
	}
	if o.Prompt == "" {
		return badRequest("prompt", "the prompt is empty")
	}
	return nil
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	q, err := read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	o, stops, err := s.options(q, defaultChat)
	if err == nil {
		o.Messages, err = messages(q.Messages)
	}
	if err != nil {
		fail(w, err)
		return
	}
	a := &answer{s: s, q: q, id: fmt.Sprintf("chatcmpl-%d", s.ids.Add(1)), object: "chat.completion", chunk: "chat.completion.chunk",
		part: func(text string, finish any) any {
			delta := map[string]any{}
			if text != "" {
				delta["content"] = text
			}
			return map[string]any{"index": 0, "delta": delta, "finish_reason": finish}
		},
		first: map[string]any{"index": 0, "delta": map[string]any{"role": "assistant", "content": ""}, "finish_reason": nil},
		whole: func(text, finish string) any {
			return map[string]any{"index": 0, "message": map[string]any{"role": "assistant", "content": text}, "finish_reason": finish, "logprobs": nil}
		}}
	a.serve(w, r, o, stops)
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

// answer is one response in the shapes of its call.
type answer struct {
	s             *Server
	q             *request
	id            string
	object, chunk string
	first         any // choice of the first chunk, nil for none
	part          func(text string, finish any) any
	whole         func(text, finish string) any
}

func (a *answer) body(object string, choices ...any) map[string]any {
	if choices == nil {
		choices = []any{}
	}
	return map[string]any{"id": a.id, "object": object, "created": time.Now().Unix(), "model": a.q.Model, "choices": choices}
}

func usage(r *peft.GenerateResult) map[string]int {
	return map[string]int{"prompt_tokens": r.PromptTokens, "completion_tokens": len(r.TokenIDs), "total_tokens": r.PromptTokens + len(r.TokenIDs)}
}

func (a *answer) serve(w http.ResponseWriter, r *http.Request, o peft.GenerateOptions, stops []string) {
	if a.q.Stream {
		a.stream(w, r, o, stops)
		return
	}
	text, finish, res, err := a.s.generate(r.Context(), o, stops, nil)
	if err != nil {
		fail(w, err)
		return
	}
	b := a.body(a.object, a.whole(text, finish))
	b["usage"] = usage(res)
	write(w, http.StatusOK, b)
}

// stream answers with server-sent events. Headers go out with the first text, so that an error before it is an error
// response; one after it comes as an event.
func (a *answer) stream(w http.ResponseWriter, r *http.Request, o peft.GenerateOptions, stops []string) {
	rc := http.NewResponseController(w)
	begun := false
	send := func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
			return err
		}
		return rc.Flush()
	}
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		if a.first == nil {
			return nil
		}
		return send(a.body(a.chunk, a.first))
	}
	_, finish, res, err := a.s.generate(r.Context(), o, stops, func(text string) error {
		if err := begin(); err != nil {
			return err
		}
		return send(a.body(a.chunk, a.part(strings.ToValidUTF8(text, "\ufffd"), nil)))
	})
	if err != nil {
		if !begun {
			fail(w, err)
		} else {
			_ = send(map[string]any{"error": map[string]any{"message": err.Error(), "type": "server_error"}}) // the client may be gone
		}
		return
	}
	if err := begin(); err != nil {
		return
	}
	if err := send(a.body(a.chunk, a.part("", finish))); err != nil {
		return
	}
	if a.q.StreamOptions != nil && a.q.StreamOptions.IncludeUsage {
		b := a.body(a.chunk)
		b["usage"] = usage(res)
		if err := send(b); err != nil {
			return
		}
	}
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n") // likewise
}
