package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gopeft/peft"
)

// form is how a call writes its choices.
type form interface {
	first(c *choice) any                               // of a stream, before its text; nil: nothing
	part(c *choice, text string, new []peft.Token) any // of a stream
	end(c *choice) any                                 // of a stream, after its text
	whole(c *choice) any                               // when not streamed
	keeps() bool                                       // whether it writes tokens, not only text
	name() (id, object, chunk string)                  // of the answer
}

// choice is one text of an answer.
type choice struct {
	index  int
	o      peft.GenerateOptions
	prompt int // which of the request's prompts it continues
	text   strings.Builder
	tokens []peft.Token // where the form or provenance wants them
	offset int          // in characters, of the next token of a stream
	res    *peft.GenerateResult
}

// answer is one response.
type answer struct {
	s       *Server
	q       *request
	form    form
	choices []*choice
	created int64
	sums    bool // tell what each set contributed
	each    bool // to each token
}

// newAnswer makes n choices for every prompt. Their seeds follow each other, so that they differ.
func (s *Server) newAnswer(q *request, f form, prompts ...peft.GenerateOptions) (*answer, error) {
	a := &answer{s: s, q: q, form: f, created: time.Now().Unix()}
	var err error
	if a.sums, a.each, err = q.provenance(); err != nil {
		return nil, err
	}
	if total := len(prompts) * q.n(); total > maxChoices || a.sums && total > 1 {
		return nil, badRequest("n", "%d prompts with %d choices each, want at most %d in all, and one with peft.provenance", len(prompts), q.n(), maxChoices)
	}
	for i, o := range prompts {
		for range q.n() {
			c := &choice{index: len(a.choices), o: o, prompt: i}
			c.o.Seed += uint64(c.index)
			a.choices = append(a.choices, c)
		}
	}
	return a, nil
}

// run generates all choices at once. emit is called by several goroutines; the first error ends them all.
func (a *answer) run(ctx context.Context, emit func(*choice, peft.Token) error, done func(*choice) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, c := range a.choices {
		all.Go(func() {
			var err error
			if c.res, err = a.s.batch.Generate(ctx, c.o, func(t peft.Token) error { return emit(c, t) }); err == nil {
				err = done(c)
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (a *answer) serve(w http.ResponseWriter, r *http.Request) {
	if a.q.Stream {
		a.stream(w, r)
		return
	}
	err := a.run(r.Context(), func(c *choice, t peft.Token) error {
		if a.form.keeps() || a.each {
			c.tokens = append(c.tokens, t)
		}
		c.text.WriteString(t.Text)
		return nil
	}, func(*choice) error { return nil })
	if err != nil {
		fail(w, err)
		return
	}
	list := make([]any, len(a.choices))
	for i, c := range a.choices {
		list[i] = a.form.whole(c)
	}
	_, object, _ := a.form.name()
	b := a.body(object, list...)
	b["usage"] = a.usage()
	if a.sums {
		b["peft"] = a.contributed(a.choices[0].res, a.choices[0].tokens)
	}
	write(w, http.StatusOK, b)
}

func (a *answer) body(object string, choices ...any) map[string]any {
	if choices == nil {
		choices = []any{}
	}
	id, _, _ := a.form.name()
	return map[string]any{"id": id, "object": object, "created": a.created, "model": a.q.Model, "choices": choices}
}

// usage counts each prompt once, however many choices it has.
func (a *answer) usage() map[string]int {
	prompt, written := map[int]int{}, 0
	for _, c := range a.choices {
		prompt[c.prompt] = c.res.PromptTokens
		written += len(c.res.TokenIDs)
	}
	read := 0
	for _, n := range prompt {
		read += n
	}
	return map[string]int{"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
}

// stream answers with server-sent events. Headers go out with the first text, so that an error before it is an error
// response; one after it comes as an event.
func (a *answer) stream(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	var mu sync.Mutex
	begun := false
	firsts := make([]bool, len(a.choices))
	_, _, object := a.form.name()
	event := func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-cache")
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
			return err
		}
		return rc.Flush()
	}
	send := func(v any, peft map[string]any) error {
		b := a.body(object, v)
		if a.q.StreamOptions != nil && a.q.StreamOptions.IncludeUsage {
			b["usage"] = nil
		}
		if peft != nil {
			b["peft"] = peft
		}
		return event(b)
	}
	begin := func(c *choice) error {
		if firsts[c.index] {
			return nil
		}
		firsts[c.index] = true
		if v := a.form.first(c); v != nil {
			return send(v, nil)
		}
		return nil
	}
	err := a.run(r.Context(), func(c *choice, t peft.Token) error {
		if t.Text == "" && !a.form.keeps() && !a.each {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if err := begin(c); err != nil {
			return err
		}
		var shares map[string]any
		if a.each {
			shares = map[string]any{"tokens": a.tokenShares([]peft.Token{t})}
		}
		return send(a.form.part(c, strings.ToValidUTF8(t.Text, "\ufffd"), []peft.Token{t}), shares)
	}, func(c *choice) error {
		mu.Lock()
		defer mu.Unlock()
		if err := begin(c); err != nil {
			return err
		}
		var sums map[string]any
		if a.sums {
			sums = a.contributed(c.res, nil)
		}
		return send(a.form.end(c), sums)
	})
	if err != nil {
		if !begun {
			fail(w, err)
		} else {
			_ = event(asAPI(err).object(err)) // the client may be gone
		}
		return
	}
	if a.q.StreamOptions != nil && a.q.StreamOptions.IncludeUsage {
		b := a.body(object)
		b["usage"] = a.usage()
		if err := event(b); err != nil {
			return
		}
	}
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n") // likewise
}
