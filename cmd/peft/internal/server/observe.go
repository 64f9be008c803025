package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// ServeHTTP implements http.Handler: every request gets an id, a span, one line in the log and its place in the metrics. None of
// them has what was asked or answered, or a key.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := newExchange(r)
	rec := &recorder{ResponseWriter: w}
	ctx := propagation.TraceContext{}.Extract(context.WithValue(r.Context(), exchangeKey{}, x), propagation.HeaderCarrier(r.Header))
	ctx, span := s.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	r = r.WithContext(ctx)
	defer func() { // also when the handler panics, as net/http has it do when a client is gone
		if rec.status == 0 {
			rec.status = http.StatusOK
		}
		s.finish(r, rec, x, span)
	}()
	s.hasten(rec, r)
	h := w.Header()
	h.Set("X-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	if !s.cors(rec, r) {
		s.mux.ServeHTTP(rec, r)
	}
}

func (s *Server) finish(r *http.Request, rec *recorder, x *exchange, span trace.Span) {
	took := time.Since(x.began)
	s.metrics.observe(r.Pattern, rec.status, took)
	if r.Pattern != "" {
		span.SetName(r.Pattern)
	}
	span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", r.Pattern),
		attribute.Int("http.response.status_code", rec.status), attribute.String("peft.request_id", x.id))
	level := slog.LevelInfo
	switch {
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
		span.SetStatus(codes.Error, "")
	case x.key == nil && (r.Pattern == "GET /healthz" || r.Pattern == "GET /readyz"):
		level = slog.LevelDebug // every few seconds
	}
	a := []slog.Attr{slog.String("id", x.id), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", rec.status),
		slog.Float64("seconds", took.Seconds()), slog.Int64("bytes", rec.bytes), slog.String("from", x.address)}
	if x.key != nil {
		a = append(a, slog.String("key", x.key.Name))
	}
	if p, n := x.prompt.Load(), x.written.Load(); p+n > 0 {
		a = append(a, slog.Int64("prompt_tokens", p), slog.Int64("written_tokens", n))
	}
	if c := span.SpanContext(); c.IsSampled() {
		a = append(a, slog.String("trace", c.TraceID().String()))
	}
	if rec.err != nil {
		a = append(a, slog.String("error", rec.err.Error()))
	}
	s.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", a...)
	span.End()
}

func (s *Server) routeProfiles() {
	s.handle("GET /debug/pprof/", admin, pprof.Index)
	s.handle("GET /debug/pprof/profile", admin, pprof.Profile)
	s.handle("GET /debug/pprof/trace", admin, pprof.Trace)
	s.handle("GET /debug/pprof/symbol", admin, pprof.Symbol)
}
