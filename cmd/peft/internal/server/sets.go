package server

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/registry"
)

func (s *Server) routeSets() {
	s.handle("GET /peft/v1/sets", use, s.listSets)
	s.handle("GET /peft/v1/sets/{ref}", use, s.showSet)
	s.handle("GET /peft/v1/sets/{name}/history", use, s.history)
	s.handle("POST /peft/v1/sets", admin, s.addSet)
	s.handle("DELETE /peft/v1/sets/{name}", admin, s.removeSet)
	s.handle("POST /peft/v1/sets/{name}/rollback", admin, s.rollback)
	s.handle("POST /peft/v1/sets/{name}/prune", admin, s.prune)
	s.handle("POST /peft/v1/sets/{name}/gate", admin, s.regate)
	s.handle("GET /peft/v1/report", admin, s.report)
}

func (s *Server) listSets(w http.ResponseWriter, r *http.Request) {
	sets, err := s.e.List()
	sets = slices.DeleteFunc(sets, func(set *peft.SetInfo) bool { return !s.visible(r.Context(), set.Name) })
	censor(r.Context(), sets...)
	answerWith(w, http.StatusOK, map[string]any{"sets": sets}, err)
}

func (s *Server) showSet(w http.ResponseWriter, r *http.Request) {
	set, err := s.e.Show(r.PathValue("ref"))
	if err == nil {
		censor(r.Context(), set)
	}
	answerWith(w, http.StatusOK, set, err)
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	revs, err := s.e.History(r.PathValue("name"))
	censor(r.Context(), revs...)
	answerWith(w, http.StatusOK, map[string]any{"revisions": revs}, err)
}

// addSet adds a set of untrained experts by data, or imports an uploaded file.
func (s *Server) addSet(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Name    string         `json:"name"`
		Data    []fileRef      `json:"data"`
		From    string         `json:"from"`
		Options adapterOptions `json:"options"`
	}
	if err := decodeStrict(r, &q); err != nil {
		fail(w, err)
		return
	}
	o := peft.AddOptions{Adapter: q.Options.adapter(), Experts: q.Options.Experts, Seed: q.Options.Seed, Placing: q.Options.placing()}
	names, err := s.uploads.resolve(q.Data)
	if err == nil {
		o.Data, err = s.uploads.paths(names)
	}
	if err == nil && q.From != "" {
		if _, err = s.uploads.stat(q.From); err == nil {
			o.From = filepath.Join(s.uploads.dir, q.From)
		}
	}
	if err != nil {
		fail(w, err)
		return
	}
	if len(o.Data) == 0 && o.From == "" {
		fail(w, badRequest("data", "give data to place the experts by, or a file to import in from"))
		return
	}
	set, err := s.background(r.Context()).AddExperts(r.Context(), q.Name, o)
	answerWith(w, http.StatusCreated, set, refused(err))
}

// background returns the engine for work that waits for requests.
func (s *Server) background(ctx context.Context) *peft.Engine {
	return s.e.Reporting(s.Patient(ctx, func(peft.Progress) {}), s.e.Options().Warn)
}

func (s *Server) removeSet(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	answerWith(w, http.StatusOK, map[string]any{"removed": name}, refused(s.e.Remove(r.Context(), name)))
}

// rollback makes a revision the current one, 0 or none for the parent.
func (s *Server) rollback(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Revision int `json:"revision"`
	}
	if r.ContentLength != 0 {
		if err := decodeStrict(r, &q); err != nil {
			fail(w, err)
			return
		}
	}
	if q.Revision < 0 {
		fail(w, badRequest("revision", "revision %d: want one of the set's, or 0 for the current one's parent", q.Revision))
		return
	}
	set, err := s.e.Rollback(r.Context(), r.PathValue("name"), q.Revision)
	answerWith(w, http.StatusOK, set, refused(err))
}

func (s *Server) prune(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Keep float64 `json:"keep"`
	}
	if err := decodeStrict(r, &q); err != nil {
		fail(w, err)
		return
	}
	if !(q.Keep > 0 && q.Keep <= 1) {
		fail(w, badRequest("keep", "keep is %g: want the share of the experts that stay, more than 0 and at most 1", q.Keep))
		return
	}
	set, err := s.background(r.Context()).Prune(r.Context(), r.PathValue("name"), q.Keep)
	answerWith(w, http.StatusOK, set, refused(err))
}

func (s *Server) regate(w http.ResponseWriter, r *http.Request) {
	set, err := s.background(r.Context()).Regate(r.Context(), r.PathValue("name"))
	answerWith(w, http.StatusOK, set, refused(err))
}

// report answers with a page about all sets.
func (s *Server) report(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := s.e.WriteReport(w); err != nil {
		w.Header().Del("Content-Type")
		fail(w, err)
	}
}

// refused gives errors about what a caller asks of the registry their status.
func refused(err error) error {
	var api *apiError
	switch {
	case err == nil, errors.As(err, &api), errors.Is(err, registry.ErrNotFound):
		return err
	case errors.Is(err, peft.ErrInUse), errors.Is(err, peft.ErrSetExists):
		return &apiError{http.StatusConflict, "invalid_request_error", "name", err}
	case errors.Is(err, registry.ErrCorrupt), errors.Is(err, registry.ErrNoSpace), errors.Is(err, context.Canceled):
		return err
	}
	return &apiError{http.StatusBadRequest, "invalid_request_error", "", err}
}
