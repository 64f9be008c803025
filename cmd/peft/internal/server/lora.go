package server

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/registry"
)

// adapterScale is llama.cpp's way to turn an adapter on: by its number in GET /lora-adapters and a strength.
type adapterScale struct {
	ID    int     `json:"id"`
	Scale float64 `json:"scale"`
}

// loras are the sets that are on, by default, in requests that name the base. There are none at the start.
type loras struct {
	mu    sync.Mutex
	scale map[string]float64 // by set
}

// defaults returns the sets with their strengths, in order of name.
func (l *loras) defaults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return scaled(l.scale)
}

// scaled writes sets as requests name them, those of no strength left out.
func scaled(scale map[string]float64) []string {
	var refs []string
	for _, name := range slices.Sorted(maps.Keys(scale)) {
		if v := scale[name]; v == 1 {
			refs = append(refs, name)
		} else if v != 0 {
			refs = append(refs, name+"*"+strconv.FormatFloat(v, 'g', -1, 32))
		}
	}
	return refs
}

// visibleSets returns the sets of the base that a caller sees, in order of name; a set's place is its number.
func (s *Server) visibleSets(r *http.Request) ([]string, error) {
	list, err := s.all(r)
	var names []string
	for _, m := range list {
		if m.Parent != "" {
			names = append(names, m.ID)
		}
	}
	return names, err
}

// chosen translates numbers to sets.
func (s *Server) chosen(r *http.Request, list []adapterScale) (map[string]float64, error) {
	names, err := s.visibleSets(r)
	if err != nil {
		return nil, err
	}
	scale := map[string]float64{}
	for _, a := range list {
		if a.ID < 0 || a.ID >= len(names) {
			return nil, badRequest("lora", "adapter %d, there are %d, counted from 0: see GET /lora-adapters", a.ID, len(names))
		}
		if f := float32(a.Scale); math.IsInf(float64(f), 0) {
			return nil, badRequest("lora", "the scale of adapter %d is %v, which is too large", a.ID, a.Scale)
		}
		scale[names[a.ID]] = a.Scale
	}
	return scale, nil
}

func (s *Server) loraAdapters(w http.ResponseWriter, r *http.Request) {
	names, err := s.visibleSets(r)
	if err != nil {
		fail(w, err)
		return
	}
	type adapter struct {
		ID    int     `json:"id"`
		Path  string  `json:"path"`
		Scale float64 `json:"scale"`
	}
	list := make([]adapter, len(names))
	s.loras.mu.Lock()
	defer s.loras.mu.Unlock()
	for i, n := range names {
		list[i] = adapter{i, n, s.loras.scale[n]}
	}
	write(w, http.StatusOK, list)
}

// setLoraAdapters sets the default strengths; adapters that the list leaves out are off.
func (s *Server) setLoraAdapters(w http.ResponseWriter, r *http.Request) {
	var list []adapterScale
	err := decode(r, &list)
	var scale map[string]float64
	if err == nil {
		scale, err = s.chosen(r, list)
	}
	if err != nil {
		fail(w, err)
		return
	}
	s.loras.mu.Lock()
	s.loras.scale = scale
	s.loras.mu.Unlock()
	write(w, http.StatusOK, map[string]bool{"success": true})
}

// loraRequest is vLLM's.
type loraRequest struct {
	Name string `json:"lora_name"`
	Path string `json:"lora_path"`
}

// loadLora imports an adapter that was uploaded. Its path is one in the uploads' directory.
func (s *Server) loadLora(w http.ResponseWriter, r *http.Request) {
	var q loraRequest
	if err := decode(r, &q); err != nil {
		fail(w, err)
		return
	}
	if q.Name == "" || q.Path == "" {
		fail(w, badRequest("lora_name", "lora_name and lora_path are needed"))
		return
	}
	// The path is opened below the directory first: a link that leads out of it is refused here.
	if _, err := s.uploads.root.Stat(q.Path); err != nil || !filepath.IsLocal(q.Path) {
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			err = errors.New("want a path in the uploads' directory, relative to it")
		}
		fail(w, badRequest("lora_path", "lora_path %q: %w", q.Path, err))
		return
	}
	_, err := s.e.AddExperts(r.Context(), q.Name, peft.AddOptions{From: filepath.Join(s.uploads.dir, q.Path)})
	switch {
	case errors.Is(err, peft.ErrSetExists):
		err = badRequest("lora_name", "%w", err)
	case errors.Is(err, registry.ErrName):
		err = badRequest("lora_name", "%w", err)
	default:
		err = refused(err)
	}
	if err != nil {
		fail(w, err)
		return
	}
	said(w, "Success: LoRA adapter '%s' added successfully.", q.Name)
}

func (s *Server) unloadLora(w http.ResponseWriter, r *http.Request) {
	var q loraRequest
	err := decode(r, &q)
	if err == nil {
		err = refused(s.e.Remove(r.Context(), q.Name))
	}
	if err != nil {
		fail(w, err)
		return
	}
	s.loras.mu.Lock()
	delete(s.loras.scale, q.Name)
	s.loras.mu.Unlock()
	said(w, "Success: LoRA adapter '%s' removed successfully.", q.Name)
}

func said(w http.ResponseWriter, format string, a ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, format, a...) // the client may be gone
}
