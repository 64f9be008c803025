package server

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"
)

func (s *Server) routeJobs() {
	s.handle("POST /peft/v1/jobs", admin, s.addJob)
	s.handle("GET /peft/v1/jobs", admin, s.listJobs)
	s.handle("GET /peft/v1/jobs/{id}", admin, s.showJob)
	s.handle("GET /peft/v1/jobs/{id}/events", admin, s.jobEvents)
	s.handle("POST /peft/v1/jobs/{id}/cancel", admin, s.cancelJob)
	s.handle("DELETE /peft/v1/jobs/{id}", admin, s.forgetJob)
}

func conflict(format string, a ...any) error {
	return &apiError{http.StatusConflict, "invalid_request_error", "", fmt.Errorf(format, a...)}
}

func (s *Server) addJob(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Name    string          `json:"name"`
		Data    []fileRef       `json:"data"`
		Options trainingOptions `json:"options"`
	}
	if err := decodeStrict(r, &q); err != nil {
		fail(w, err)
		return
	}
	if len(q.Data) == 0 {
		fail(w, badRequest("data", "no data given: name uploaded files, or send them as {\"name\", \"content\"}"))
		return
	}
	data, err := s.uploads.resolve(q.Data)
	if err != nil {
		fail(w, err)
		return
	}
	j, err := s.jobs.add(q.Name, data, q.Options)
	answerWith(w, http.StatusCreated, j, err)
}

func (s *Server) listJobs(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]any{"jobs": s.jobs.list()})
}

func (s *Server) showJob(w http.ResponseWriter, r *http.Request) {
	j, _, err := s.jobs.find(r.PathValue("id"))
	answerWith(w, http.StatusOK, j, err)
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) {
	j, err := s.jobs.end(r.PathValue("id"))
	answerWith(w, http.StatusAccepted, j, err)
}

func (s *Server) forgetJob(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	answerWith(w, http.StatusOK, map[string]any{"removed": id}, s.jobs.forget(id))
}

// keepAlive is how often an event stream says that it is there, for proxies that would end it.
const keepAlive = 15 * time.Second

// jobEvents streams a job's log from its beginning, or from after Last-Event-ID, until the job has ended.
func (s *Server) jobEvents(w http.ResponseWriter, r *http.Request) {
	j, _, err := s.jobs.find(r.PathValue("id"))
	from := int64(0)
	if last := r.Header.Get("Last-Event-ID"); err == nil && last != "" {
		if from, err = strconv.ParseInt(last, 10, 64); err != nil || from < 0 {
			err = badRequest("", "Last-Event-ID %q: want one of this stream's", last)
		}
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for {
		// What is told of after this look closes changed, so nothing is missed between reading and waiting.
		now, changed, err := s.jobs.find(j.ID)
		if err != nil {
			return // forgotten meanwhile
		}
		if from, err = s.jobs.events(w, j.ID, from); err != nil {
			return
		}
		if now.ended() {
			_ = sendEvent(w, from, "end", now)
			_ = out.Flush()
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-time.After(keepAlive):
			if _, err := io.WriteString(w, ": still here\n\n"); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.jobs.over:
			return
		}
	}
}

// events sends the whole lines of a log from an offset on and returns the offset after them.
func (q *jobs) events(w io.Writer, id string, from int64) (int64, error) {
	f, err := os.Open(q.path(&job{ID: id}, logFile))
	if errors.Is(err, fs.ErrNotExist) {
		return from, nil
	}
	if err != nil {
		return from, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return from, err
	}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return from, nil // the rest is not written yet
		}
		from += int64(len(line))
		var e event
		if json.Unmarshal(line, &e) != nil {
			continue // cut off when a process was killed
		}
		if err := sendEvent(w, from, e.Type, e.Data); err != nil {
			return from, err
		}
	}
}

func sendEvent(w io.Writer, id int64, kind string, v any) error {
	b, err := json.Marshal(v)
	_, werr := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", id, kind, b)
	return cmp.Or(err, werr)
}
