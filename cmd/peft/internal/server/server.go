// Package server answers the OpenAI protocol's models, completions and chat completions.
package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/registry"
)

// maxBody bounds a request, in bytes.
const maxBody = 8 << 20

// Options of New.
type Options struct {
	Batch     peft.BatchOptions
	Uploads   string // directory of uploaded files; default: uploads in the registry's
	MaxUpload int64  // bytes of a file; default 1 GiB
	Jobs      string // directory of the jobs' records; default: jobs in the registry's
}

// Server answers requests.
type Server struct {
	e       *peft.Engine
	batch   *peft.Batcher
	uploads *uploads
	jobs    *jobs
	mux     *http.ServeMux
	ids     atomic.Int64
	started int64
}

// scope is what a caller must be allowed to do.
type scope int

const (
	public scope = iota // anybody
	use                 // generate, and see sets
	admin               // change the registry, run jobs, profile
)

// New starts a server of an engine.
func New(e *peft.Engine, o Options) (*Server, error) {
	b, err := e.NewBatcher(o.Batch)
	if err != nil {
		return nil, err
	}
	s := &Server{e: e, batch: b, mux: http.NewServeMux(), started: time.Now().Unix()}
	dir := e.Registry().Dir()
	if s.uploads, err = openUploads(cmp.Or(o.Uploads, filepath.Join(dir, "uploads")), o.MaxUpload); err != nil {
		return nil, err
	}
	if s.jobs, err = openJobs(s, cmp.Or(o.Jobs, filepath.Join(dir, "jobs"))); err != nil {
		return nil, errors.Join(err, s.uploads.close())
	}
	s.routeOpenAI()
	s.routeSets()
	s.routeUploads()
	s.routeJobs()
	s.routePage()
	s.routeStats()
	s.handle("GET /healthz", public, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	s.jobs.start()
	return s, nil
}

// handle routes a pattern. Every handler is registered by it, with the scope that its caller needs.
func (s *Server) handle(pattern string, need scope, h http.HandlerFunc) {
	s.mux.Handle(pattern, h)
}

func (s *Server) routeOpenAI() {
	s.handle("GET /v1/models", use, s.models)
	s.handle("GET /v1/models/{id}", use, s.model)
	s.handle("POST /v1/completions", use, s.completions)
	s.handle("POST /v1/chat/completions", use, s.chat)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Interrupt ends the running job, which goes on when the server starts again, and what looks on jobs.
func (s *Server) Interrupt() { s.jobs.close() }

// Close interrupts the running job and ends the server when the requests that run have come to their end, or ctx has.
func (s *Server) Close(ctx context.Context) error {
	s.Interrupt()
	return errors.Join(s.batch.Close(ctx), s.uploads.close())
}

// apiError is an error with its HTTP status.
type apiError struct {
	status int
	kind   string
	param  string
	err    error
}

func (e *apiError) Error() string { return e.err.Error() }
func (e *apiError) Unwrap() error { return e.err }

func badRequest(param, format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "invalid_request_error", param, fmt.Errorf(format, a...)}
}

// fail writes the protocol's error object.
func fail(w http.ResponseWriter, err error) {
	api := &apiError{http.StatusInternalServerError, "server_error", "", err}
	switch {
	case errors.As(err, &api):
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrName):
		api = &apiError{http.StatusNotFound, "invalid_request_error", "model", err}
	case errors.Is(err, llama.ErrInput), errors.Is(err, tokenizer.ErrUnsupported), errors.Is(err, tokenizer.ErrInvalid), errors.Is(err, peft.ErrOtherBase):
		api = &apiError{http.StatusBadRequest, "invalid_request_error", "", err}
	}
	var param any
	if api.param != "" {
		param = api.param
	}
	write(w, api.status, map[string]any{"error": map[string]any{"message": err.Error(), "type": api.kind, "param": param, "code": nil}})
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone when this fails
}

type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Parent  string `json:"parent,omitempty"`
}

func (s *Server) all() ([]model, error) {
	b, err := s.e.Base()
	if err != nil {
		return nil, err
	}
	list := []model{{b.Name, "model", s.started, "base", ""}, {autoModel, "model", s.started, "peft", ""}}
	sets, err := s.e.List()
	if err != nil {
		return nil, err
	}
	print, err := b.Fingerprint()
	if err != nil {
		return nil, err
	}
	for _, set := range sets {
		if set.Fingerprint == print {
			list = append(list, model{set.Name, "model", set.Created.Unix(), "peft", b.Name})
		}
	}
	return list, nil
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	list, err := s.all()
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	list, err := s.all()
	if err != nil {
		fail(w, err)
		return
	}
	for _, m := range list {
		if m.ID == r.PathValue("id") {
			write(w, http.StatusOK, m)
			return
		}
	}
	fail(w, fmt.Errorf("model %q: %w", r.PathValue("id"), registry.ErrNotFound))
}

// request is what completions and chat completions have in common.
type request struct {
	Model               string            `json:"model"`
	Prompt              json.RawMessage   `json:"prompt"`
	Messages            []json.RawMessage `json:"messages"`
	MaxTokens           *int              `json:"max_tokens"`
	MaxCompletionTokens *int              `json:"max_completion_tokens"`
	Temperature         *float64          `json:"temperature"`
	TopP                *float64          `json:"top_p"`
	Seed                *int64            `json:"seed"`
	N                   *int              `json:"n"`
	Stop                json.RawMessage   `json:"stop"`
	Stream              bool              `json:"stream"`
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func read(w http.ResponseWriter, r *http.Request) (*request, error) {
	var q request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&q); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, &apiError{http.StatusRequestEntityTooLarge, "invalid_request_error", "", fmt.Errorf("the request is larger than %d bytes", maxBody)}
		}
		return nil, badRequest("", "the request is no JSON object of this call: %w", err)
	}
	if q.N != nil && *q.N != 1 {
		return nil, badRequest("n", "n is %d; only 1 is served", *q.N)
	}
	return &q, nil
}

// autoModel is the name under which the sets' gates decide.
const autoModel = "auto"

// options translates a request; sets come from the model's name: the base's, a set's, a+b, or auto.
func (s *Server) options(q *request, limit int) (peft.GenerateOptions, []string, error) {
	o := peft.GenerateOptions{MaxTokens: limit, Temperature: 1, TopP: 1, Seed: uint64(s.ids.Add(1)) ^ uint64(time.Now().UnixNano())}
	for _, n := range []*int{q.MaxTokens, q.MaxCompletionTokens} {
		if n != nil {
			o.MaxTokens = *n
		}
	}
	if o.MaxTokens < 1 {
		return o, nil, badRequest("max_tokens", "max_tokens is %d, want at least 1", o.MaxTokens)
	}
	if q.Temperature != nil {
		o.Temperature = *q.Temperature
	}
	if q.TopP != nil {
		o.TopP = *q.TopP
	}
	if o.Temperature < 0 || o.Temperature > 2 || o.TopP < 0 || o.TopP > 1 {
		return o, nil, badRequest("temperature", "temperature %v and top_p %v: want 0 to 2 and 0 to 1", o.Temperature, o.TopP)
	}
	if q.Seed != nil {
		o.Seed = uint64(*q.Seed)
	}
	b, err := s.e.Base()
	if err != nil {
		return o, nil, err
	}
	if q.Model == "" {
		return o, nil, badRequest("model", "no model named; GET /v1/models lists them")
	}
	switch q.Model {
	case b.Name, "base":
	case autoModel:
		o.Auto = true
	default:
		o.Sets = strings.Split(q.Model, "+")
	}
	stops, err := stopStrings(q.Stop)
	return o, stops, err
}

func stopStrings(raw json.RawMessage) ([]string, error) {
	var one string
	var many []string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case json.Unmarshal(raw, &one) == nil:
		many = []string{one}
	case json.Unmarshal(raw, &many) != nil:
		return nil, badRequest("stop", "stop is neither a string nor a list of strings")
	}
	for _, s := range many {
		if s == "" {
			return nil, badRequest("stop", "a stop string is empty")
		}
	}
	return many, nil
}

// generate runs one generation.
func (s *Server) generate(ctx context.Context, o peft.GenerateOptions, stops []string, emit func(string) error) (text, finish string, res *peft.GenerateResult, err error) {
	o.Stop = stops
	res, err = s.batch.Generate(ctx, o, func(t peft.Token) error {
		if emit == nil || t.Text == "" {
			return nil
		}
		return emit(t.Text)
	})
	if err != nil {
		return "", "", nil, err
	}
	return res.Text, res.Stop, res, nil
}
