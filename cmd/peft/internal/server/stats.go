package server

import (
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/gopeft/peft/base/tokenizer"
)

// stats is what GET /peft/v1/stats answers: the base that is served, and what the server does at this moment. Token counts are
// totals since the start; rates come from two answers and the Seconds between them.
type stats struct {
	Base        string         `json:"base"`
	Fingerprint string         `json:"base_fingerprint"`
	Chat        bool           `json:"chat"`    // whether the base has a chat template; if not, only completions work
	Seconds     float64        `json:"seconds"` // since the server started, by a clock that only goes forward
	Running     int            `json:"running"` // sequences
	Waiting     int            `json:"waiting"`
	Prompt      int64          `json:"prompt_tokens"`  // read
	Written     int64          `json:"written_tokens"` // generated
	Reused      int64          `json:"reused_tokens"`  // of prompts that were not read again
	CacheTokens int            `json:"cache_tokens"`
	Sets        map[string]int `json:"sets"` // running sequences by name@revision
}

func (s *Server) routeStats() {
	start := time.Now()
	var once sync.Once
	var chat bool // a template is rendered to know it
	s.handle("GET /peft/v1/stats", use, func(w http.ResponseWriter, r *http.Request) {
		b, err := s.e.Base()
		if err != nil {
			fail(w, err)
			return
		}
		print, err := b.Fingerprint()
		if err != nil {
			fail(w, err)
			return
		}
		once.Do(func() {
			_, err := b.Tokenizer.ApplyChat([]tokenizer.Message{{Role: "user", Content: "?"}}, true)
			chat = !errors.Is(err, tokenizer.ErrUnsupported)
		})
		now := s.batch.Stats()
		maps.DeleteFunc(now.Sets, func(set string, _ int) bool { return !s.visible(r.Context(), set) })
		w.Header().Set("Cache-Control", "no-store")
		write(w, http.StatusOK, stats{
			Base: b.Name, Fingerprint: print, Chat: chat, Seconds: time.Since(start).Seconds(),
			Running: now.Running, Waiting: now.Waiting, Prompt: now.Prompt, Written: now.Written, Reused: now.Reused,
			CacheTokens: now.CacheTokens, Sets: now.Sets,
		})
	})
}
