package server

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of what one request and one client may ask. Zero values mean the defaults.
type Limits struct {
	MaxBody           int64 // bytes of a request that is no upload; default 8 MiB
	MaxTokens         int   // of a prompt; answers end there, too; default: what the base takes
	RequestsPerMinute int   // of one address, with or without keys; default: no limit

	BodyTime time.Duration // in which a request's body must come, or the next part of an upload; default a minute
}

func (l Limits) body() int64 { return cmp.Or(l.MaxBody, maxBody) }

// maxRates is how many clients' rates are remembered; more are only those that asked within the last minute.
const maxRates = 4096

// rates are how much clients may do a minute, and have done.
type rates struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

// take counts n against a client's limit a minute and returns 0, or how long to wait when the limit is reached. No limit: 0.
func (t *rates) take(client string, perMinute, n int) time.Duration {
	if perMinute <= 0 {
		return 0
	}
	l := t.limiter(client, perMinute)
	now := time.Now()
	if l.AllowN(now, n) {
		return 0
	}
	return time.Duration((float64(n) - l.TokensAt(now)) / float64(l.Limit()) * float64(time.Second))
}

// charge counts n that are used already, also beyond the limit: what comes next then waits for them.
func (t *rates) charge(client string, perMinute, n int) {
	if perMinute <= 0 {
		return
	}
	l := t.limiter(client, perMinute)
	for n > 0 {
		k := min(n, l.Burst())
		l.ReserveN(time.Now(), k)
		n -= k
	}
}

func (t *rates) limiter(client string, perMinute int) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.by[client]; l != nil && l.Burst() == perMinute {
		return l
	}
	if t.by == nil {
		t.by = map[string]*rate.Limiter{}
	}
	if len(t.by) >= maxRates {
		for c, l := range t.by {
			if l.Tokens() >= float64(l.Burst()) { // as good as new
				delete(t.by, c)
			}
		}
	}
	l := rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
	t.by[client] = l
	return l
}

// Of a request's body, where Limits do not say it.
const (
	maxBody  = 8 << 20 // bytes
	bodyTime = time.Minute
)

// hasten bounds the size of a request's body and the time that it takes to arrive; of an upload, the time without news of it.
func (s *Server) hasten(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	h := &hastened{rc: http.NewResponseController(w), within: cmp.Or(s.guard.o.BodyTime, bodyTime), upload: r.Method == http.MethodPost && r.URL.Path == uploadsPath}
	size := s.guard.o.body()
	if h.upload {
		size = 2*s.uploads.limit + 1<<20 // of each file the limit is exact
	}
	h.ReadCloser = http.MaxBytesReader(w, r.Body, size)
	if h.rc.SetReadDeadline(time.Now().Add(h.within)) != nil { // a writer that has none, such as a test's
		h.rc = nil
	}
	r.Body = h
}

// hastened is a body with a deadline. It is none of the answer: net/http takes it away where it waits for the client to leave.
type hastened struct {
	io.ReadCloser
	rc     *http.ResponseController // nil: no deadline
	within time.Duration
	upload bool
}

// Read implements io.Reader.
func (h *hastened) Read(b []byte) (int, error) {
	n, err := h.ReadCloser.Read(b)
	switch {
	case h.rc == nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && h.upload:
		err = refusal(http.StatusRequestTimeout, "timeout_error", "nothing more of the upload came for %v", h.within)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = refusal(http.StatusRequestTimeout, "timeout_error", "the request's body did not come within %v", h.within)
	case err == nil && h.upload:
		_ = h.rc.SetReadDeadline(time.Now().Add(h.within)) // it could be set
	}
	return n, err
}
