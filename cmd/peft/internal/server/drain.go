package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// drainRetry is when those who are turned away may come again: another server may answer by then.
const drainRetry = 5 * time.Second

func draining(w http.ResponseWriter) error {
	retryAfter(w, drainRetry)
	return &apiError{http.StatusServiceUnavailable, "server_error", "", errors.New("the server is going down and takes no more requests")}
}

// Drain takes no more requests, says so at /readyz, interrupts the running job and waits until the requests that run have come
// to their end, or ctx has: then the error wraps ctx's.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.Interrupt()
	done := make(chan struct{})
	go func() {
		s.running.Lock() // waits for all, and holds it: nothing may begin any more
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("requests still run, and are cut off: %w", ctx.Err())
	}
}

func (s *Server) routeHealth() {
	s.handle("GET /healthz", public, func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	s.handle("GET /readyz", public, s.ready)
}

// ready answers whether requests would be.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		fail(w, draining(w))
		return
	}
	if _, err := s.e.Base(); err != nil {
		blame(w, http.StatusServiceUnavailable, err)
		write(w, http.StatusServiceUnavailable, map[string]string{"status": "the base is not loaded"})
		return
	}
	write(w, http.StatusOK, map[string]string{"status": "ready"})
}
