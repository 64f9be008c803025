// Package server answers the OpenAI protocol, some calls of vLLM and llama.cpp for adapters, and peft's own.
package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/gopeft/peft"
)

// Options of New.
type Options struct {
	Batch     peft.BatchOptions
	Uploads   string // directory of uploaded files; default: uploads in the registry's
	MaxUpload int64  // bytes of a file; default 1 GiB
	Jobs      string // directory of the jobs' records; default: jobs in the registry's
	Access    AccessOptions
	Log       *slog.Logger         // of requests; nil: none
	Tracer    trace.TracerProvider // nil: none
}

// Server answers requests.
type Server struct {
	e       *peft.Engine
	batch   *generator
	guard   guard
	uploads *uploads
	jobs    *jobs
	loras   loras
	mux     *http.ServeMux
	ids     atomic.Int64
	started int64

	metrics  *metrics
	log      *slog.Logger
	tracer   trace.Tracer
	routes   map[string]scope // by pattern
	draining atomic.Bool
	running  sync.RWMutex // read by requests while they run
}

// scope is what a caller must be allowed to do.
type scope int

const (
	public  scope = iota // anybody
	use                  // generate, and see sets
	monitor              // read measurements
	admin                // change the registry, run jobs, profile
)

// New starts a server of an engine.
func New(e *peft.Engine, o Options) (*Server, error) {
	b, err := e.NewBatcher(o.Batch)
	if err != nil {
		return nil, err
	}
	s := &Server{e: e, mux: http.NewServeMux(), started: time.Now().Unix(), routes: map[string]scope{}, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler))}
	s.batch, s.guard.o, s.metrics, s.tracer = &generator{b, s}, o.Access, s.newMetrics(), noop.NewTracerProvider().Tracer("")
	if o.Tracer != nil {
		s.tracer = o.Tracer.Tracer("github.com/gopeft/peft/cmd/peft")
	}
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
	s.handle("GET /peft/v1/usage", use, s.usage)
	s.routeHealth()
	s.routeMetrics()
	s.routeProfiles()
	s.jobs.start()
	return s, nil
}

// handle routes a pattern. Every handler is registered by it, with the scope that its caller needs.
func (s *Server) handle(pattern string, need scope, h http.HandlerFunc) {
	s.routes[pattern] = need
	s.mux.Handle(pattern, s.authorise(need, h))
}

func (s *Server) routeOpenAI() {
	s.handle("GET /v1/models", use, s.models)
	s.handle("GET /v1/models/{id}", use, s.model)
	s.handle("POST /v1/completions", use, s.completions)
	s.handle("POST /v1/chat/completions", use, s.chat)
	s.handle("POST /v1/embeddings", use, s.embeddings)
	s.handle("POST /v1/load_lora_adapter", admin, s.loadLora)
	s.handle("POST /v1/unload_lora_adapter", admin, s.unloadLora)
	s.handle("GET /lora-adapters", use, s.loraAdapters)
	s.handle("POST /lora-adapters", admin, s.setLoraAdapters)
}

// Interrupt ends the running job, which goes on when the server starts again, and what looks on jobs.
func (s *Server) Interrupt() { s.jobs.close() }

// Close interrupts the running job and ends the server when the requests that run have come to their end, or ctx has.
func (s *Server) Close(ctx context.Context) error {
	s.Interrupt()
	return errors.Join(s.batch.Close(ctx), s.uploads.close())
}
