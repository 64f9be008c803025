package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gopeft/peft/registry"
)

// autoModel is the name under which the sets' gates decide.
const autoModel = "auto"

// model is one entry of the list of models: the base, auto, or a set with its base as parent.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Parent  string `json:"parent,omitempty"`
}

// all lists the models that a caller may see: the base, auto, and every set made for the base.
func (s *Server) all(r *http.Request) ([]model, error) {
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
		if set.Fingerprint == print && s.visible(r.Context(), set.Name) {
			list = append(list, model{set.Name, "model", set.Created.Unix(), "peft", b.Name})
		}
	}
	return list, nil
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	list, err := s.all(r)
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, map[string]any{"object": "list", "data": list})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	list, err := s.all(r)
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

// named finds the sets that a request turns on: by the name of its model, which is the base's, a set's, a+b, a*0.5, or auto, and
// by lora, which goes with the base's alone. Sets that the caller does not see do not exist.
func (s *Server) named(r *http.Request, q *request) (sets []string, auto bool, err error) {
	b, err := s.e.Base()
	if err != nil {
		return nil, false, err
	}
	onBase := q.Model == b.Name || q.Model == "base"
	switch {
	case q.Model == "":
		return nil, false, badRequest("model", "no model named; GET /v1/models lists them")
	case q.LoRA != nil && !onBase:
		return nil, false, badRequest("lora", "lora with model %q: it turns sets on for the base, %s", q.Model, b.Name)
	case q.LoRA != nil:
		scale, err := s.chosen(r, q.LoRA)
		return scaled(scale), false, err
	case onBase:
		sets = slices.DeleteFunc(s.loras.defaults(), func(ref string) bool { return !s.visible(r.Context(), ref) })
	case q.Model == autoModel:
		auto = true
	default:
		sets = strings.Split(q.Model, "+")
	}
	return s.narrow(r.Context(), sets, auto)
}
