package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/cmd/peft/internal/access"
)

// trickle sends a request whose body comes byte by byte and without end, and returns what it is told before the connection is
// closed.
func (g *gate) trickle(method, path string) (reply, string) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\n", method, path, g.Listener.Addr()); err != nil {
		g.t.Fatal(err)
	}
	go func() {
		for { // until the connection is closed
			if _, err := io.WriteString(c, " "); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		g.t.Errorf("%s %s: %v", method, path, err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || !a.Close {
		g.t.Errorf("%s %s: the connection stays open: %v", method, path, err)
	}
	return reply{a.StatusCode, a.Header}, string(b)
}

// TestSlowBody has clients whose requests never end; they are cut off, and hold nobody up.
func TestSlowBody(t *testing.T) {
	const within = 300 * time.Millisecond
	g := newGate(t, Options{Access: AccessOptions{Limits: Limits{BodyTime: within}}})
	for _, q := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"POST", "/v1/completions", http.StatusRequestTimeout, "did not come within 300ms"}, {"POST", "/peft/v1/jobs", http.StatusRequestTimeout, "did not come within 300ms"},
		{"POST", "/nowhere", http.StatusNotFound, ""}, {"GET", "/v1/models", http.StatusOK, "builtin"},
	} {
		began, answered := time.Now(), make(chan time.Duration)
		go func() {
			if a, body := g.ask("POST", "/v1/completions", "", completion("open")); a.StatusCode != http.StatusOK {
				t.Errorf("beside it: %d %s", a.StatusCode, body)
			}
			answered <- time.Since(began)
		}()
		a, body := g.trickle(q.method, q.path)
		took := time.Since(began)
		if a.StatusCode != q.status || !strings.Contains(body, q.says) {
			t.Errorf("%s %s: %d %s, want %d", q.method, q.path, a.StatusCode, body, q.status)
		}
		if took < within {
			t.Errorf("%s %s: cut off after %v, want not before %v", q.method, q.path, took, within)
		}
		if beside := <-answered; beside > took+5*time.Second {
			t.Errorf("beside it an answer took %v", beside)
		}
	}
	g.key("alice", access.Rights{})
	if a, _ := g.trickle("POST", "/v1/completions"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.StatusCode)
	}
}

// TestSlowUpload has one that comes slowly, and one that stops.
func TestSlowUpload(t *testing.T) {
	const within = 300 * time.Millisecond
	g := newGate(t, Options{Access: AccessOptions{Limits: Limits{BodyTime: within}}})
	r, w := io.Pipe()
	defer w.Close() // of the one that stops
	for _, q := range []struct {
		name   string
		body   io.Reader
		status int
	}{{"slow.txt", &slowly{parts: 10, every: within / 5}, http.StatusCreated}, {"stops.txt", io.MultiReader(strings.NewReader("some"), r), http.StatusRequestTimeout}} {
		a, err := http.Post(g.URL+uploadsPath+"?name="+q.name, "text/plain", q.body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != q.status {
			t.Errorf("%s: %d %s, %v, want %d", q.name, a.StatusCode, b, err, q.status)
		}
	}
	if list := g.want(http.StatusOK, "GET", uploadsPath, "", ""); !strings.Contains(list, "slow.txt") || strings.Contains(list, "stops") {
		t.Errorf("uploaded are %s", list)
	}
}

// slowly is a text of which a part comes now and then.
type slowly struct {
	parts int
	every time.Duration
}

func (s *slowly) Read(b []byte) (int, error) {
	if s.parts == 0 {
		return 0, io.EOF
	}
	s.parts--
	time.Sleep(s.every)
	return copy(b, "part "), nil
}

// TestSlowAnswer has answers that take longer than a request's body may. Their bodies have ended: they are not cut off.
func TestSlowAnswer(t *testing.T) {
	const within, parts = 200 * time.Millisecond, 8
	g := newGate(t, Options{Access: AccessOptions{Limits: Limits{BodyTime: within}}})
	slow := func(w http.ResponseWriter, r *http.Request) {
		var v map[string]any
		if r.Method == http.MethodPost {
			if err := decode(r, &v); err != nil {
				fail(w, err)
				return
			}
		}
		for range parts {
			if _, err := io.WriteString(w, "part "); err != nil || http.NewResponseController(w).Flush() != nil {
				t.Error("the answer cannot be written")
			}
			select {
			case <-time.After(within / 2):
			case <-r.Context().Done():
				return
			}
		}
	}
	g.h.handle("POST /test/slow", use, slow)
	g.h.handle("GET /test/slow", use, slow)
	for _, method := range []string{"POST", "GET"} {
		for _, body := range []io.Reader{strings.NewReader(`{"a": 1}`), io.MultiReader(strings.NewReader(`{"a": 1}`))} { // of known length, and in chunks
			r, err := http.NewRequest(method, g.URL+"/test/slow", body)
			if err != nil {
				t.Fatal(err)
			}
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(a.Body)
			a.Body.Close()
			if want := strings.Repeat("part ", parts); err != nil || string(b) != want {
				t.Errorf("%s with %d bytes: got %q, %v, want %q", method, r.ContentLength, b, err, want)
			}
		}
	}
}
