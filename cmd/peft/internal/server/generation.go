package server

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/gopeft/peft"
)

// generator is the batcher as callers reach it: each with the sets that it sees and within its limits, measured.
type generator struct {
	*peft.Batcher
	s *Server
}

// Generate is peft.Batcher's, for the caller that ctx has.
func (g *generator) Generate(ctx context.Context, o peft.GenerateOptions, emit func(peft.Token) error) (res *peft.GenerateResult, err error) {
	x := exchangeOf(ctx)
	if o.Sets, o.Auto, err = g.s.narrow(ctx, o.Sets, o.Auto); err != nil {
		return nil, err
	}
	o.Client = x.client()
	prompt, err := g.within(x, &o)
	if err != nil {
		return nil, err
	}
	ctx, span := g.s.tracer.Start(ctx, "generate", trace.WithAttributes(attribute.StringSlice("peft.sets", o.Sets), attribute.Bool("peft.auto", o.Auto),
		attribute.Int("gen_ai.request.max_tokens", o.MaxTokens)))
	defer span.End()
	m := g.s.metrics
	began, written := time.Now(), 0
	res, err = g.Batcher.Generate(ctx, o, func(t peft.Token) error {
		if written++; written == 1 {
			m.firstToken.Observe(time.Since(began).Seconds())
			span.AddEvent("first token")
		}
		if emit == nil {
			return nil
		}
		return emit(t)
	})
	if res != nil {
		prompt, written = res.PromptTokens, len(res.TokenIDs)
	}
	x.prompt.Add(int64(prompt))
	x.written.Add(int64(written))
	if x.key != nil {
		g.s.guard.rates.charge(tokensOf(x), x.key.TokensPerMinute, prompt+written)
	}
	m.prompt.Add(float64(prompt))
	m.written.Add(float64(written))
	m.answer.Observe(time.Since(began).Seconds())
	span.SetAttributes(attribute.Int("gen_ai.usage.input_tokens", prompt), attribute.Int("gen_ai.usage.output_tokens", written))
	finish := "error"
	switch {
	case err == nil:
		finish = res.Stop
	case ctx.Err() != nil:
		finish = "abort"
	default:
		span.SetStatus(codes.Error, "")
	}
	m.finished.WithLabelValues(finish).Inc()
	return res, err
}

// within checks a request against the limits of tokens and returns the length of its prompt, where a limit needs it.
func (g *generator) within(x *exchange, o *peft.GenerateOptions) (prompt int, err error) {
	most := g.s.guard.o.MaxTokens
	if most > 0 {
		o.MaxTokens = min(o.MaxTokens, most)
	}
	perMinute := 0
	if x.key != nil {
		perMinute = x.key.TokensPerMinute
	}
	if most == 0 && perMinute == 0 {
		return 0, nil
	}
	if wait := g.s.guard.rates.take(tokensOf(x), perMinute, 1); wait > 0 {
		return 0, &limitError{wait, refusal(http.StatusTooManyRequests, "rate_limit_error", "more than %d tokens a minute with key %s", perMinute, x.key.Name)}
	}
	if prompt, err = g.promptTokens(o); err != nil {
		return 0, err
	}
	if most > 0 && prompt > most {
		return 0, badRequest("prompt", "the prompt has %d tokens, this server takes at most %d", prompt, most)
	}
	return prompt, nil
}

func tokensOf(x *exchange) string { return "tokens of " + x.client() }

func (g *generator) promptTokens(o *peft.GenerateOptions) (int, error) {
	if len(o.PromptIDs) > 0 {
		return len(o.PromptIDs), nil
	}
	b, err := g.s.e.Base()
	if err != nil {
		return 0, err
	}
	text := o.Prompt
	if len(o.Messages) > 0 {
		if text, err = b.Tokenizer.ApplyChat(o.Messages, true); err != nil {
			return 0, err
		}
	}
	return len(b.Tokenizer.Encode(text, true)), nil
}

// limitError is an error after which the client may come again.
type limitError struct {
	wait time.Duration
	error
}

func (e *limitError) Unwrap() error { return e.error }

// Embed is peft.Batcher's, for the caller that ctx has.
func (g *generator) Embed(ctx context.Context, texts, sets []string, auto bool) (vectors [][]float32, tokens int, err error) {
	x := exchangeOf(ctx)
	if sets, auto, err = g.s.narrow(ctx, sets, auto); err != nil {
		return nil, 0, err
	}
	for _, t := range texts {
		if _, err := g.within(x, &peft.GenerateOptions{Prompt: t}); err != nil {
			return nil, 0, err
		}
	}
	vectors, tokens, err = g.Batcher.Embed(ctx, texts, sets, auto)
	x.prompt.Add(int64(tokens))
	g.s.metrics.prompt.Add(float64(tokens))
	if x.key != nil {
		g.s.guard.rates.charge(tokensOf(x), x.key.TokensPerMinute, tokens)
	}
	return vectors, tokens, err
}
