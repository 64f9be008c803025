package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gopeft/peft"
)

// protocol is the version of what goes over the socket: lines of JSON, one Request and then messages.
const protocol = 1

// Request is a command line, complete in itself: the server has another working directory, environment and peft.toml.
type Request struct {
	Protocol    int      `json:"protocol"`
	Args        []string `json:"args"`                  // from the program's name on, files by absolute paths
	Base        string   `json:"base,omitempty"`        // that is asked for, as a path or "builtin"; empty: any
	Cache       string   `json:"cache,omitempty"`       // of pulled models, as an absolute path; empty: any
	Threads     int      `json:"threads,omitempty"`     // 0: any
	Activations string   `json:"activations,omitempty"` // their bits; empty: any
}

// message is what comes back and, with Cancel, goes out after the request.
type message struct {
	Stdout   []byte         `json:"stdout,omitempty"`
	Stderr   []byte         `json:"stderr,omitempty"`
	Progress *peft.Progress `json:"progress,omitempty"`
	Code     *int           `json:"code,omitempty"` // the last one's: how the command ended
	Cancel   bool           `json:"cancel,omitempty"`
}

// Output is where a command writes.
type Output struct {
	Stdout, Stderr io.Writer
	Progress       func(peft.Progress)
}

// Call runs a command line in the server of the registry in dir and returns its exit code. A context that ends cancels the
// command, which then ends as it would at an interrupt. Errors wrap ErrNoServer when nothing was begun.
func Call(ctx context.Context, dir string, q Request, o Output) (code int, err error) {
	c, err := dial(dir)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	q.Protocol = protocol
	out := json.NewEncoder(c)
	if err := out.Encode(q); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = out.Encode(message{Cancel: true}) })
	defer stop()
	for in := json.NewDecoder(c); ; {
		var m message
		if err := in.Decode(&m); err != nil {
			return 0, fmt.Errorf("the server that holds the registry ended before the command did: %w", err)
		}
		_, err := o.Stdout.Write(m.Stdout)
		if err == nil {
			_, err = o.Stderr.Write(m.Stderr)
		}
		if err != nil {
			return 0, err // the closed connection cancels the command
		}
		if m.Progress != nil {
			o.Progress(*m.Progress)
		}
		if m.Code != nil {
			return *m.Code, nil
		}
	}
}

// Handler runs a command and returns its exit code.
type Handler func(ctx context.Context, q Request, o Output) (code int)

// Server runs the commands that come over a socket.
type Server struct {
	l    *net.UnixListener
	path string
	h    Handler
	ctx  context.Context
	stop context.CancelFunc
	busy sync.WaitGroup
}

// Serve makes the socket in the directory of a registry that the caller holds, and runs what comes until Close.
func Serve(dir string, h Handler) (*Server, error) {
	l, err := listen(dir)
	if err != nil {
		return nil, fmt.Errorf("socket for other commands: %w", err)
	}
	s := &Server{l: l, path: filepath.Join(dir, Name), h: h}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.busy.Go(s.accept)
	return s, nil
}

// Close cancels what runs, waits for it and removes the socket.
func (s *Server) Close() error {
	s.stop()
	err := errors.Join(os.Remove(s.path), s.l.Close())
	s.busy.Wait()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files: it passes
			time.Sleep(100 * time.Millisecond)
		default:
			s.busy.Go(func() { s.session(c) })
		}
	}
}

// patience is how long a client may take to say what it wants.
const patience = 10 * time.Second

func (s *Server) session(c net.Conn) {
	defer c.Close()
	out := &sender{enc: json.NewEncoder(c)}
	var q Request
	_ = c.SetReadDeadline(time.Now().Add(patience))
	in := json.NewDecoder(c)
	if err := in.Decode(&q); err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() { // a wish to cancel, or the end of the client
		_ = in.Decode(new(message))
		cancel()
	}()
	code := 1
	if q.Protocol == protocol && len(q.Args) > 0 {
		code = s.h(ctx, q, Output{stream{out, false}, stream{out, true}, func(p peft.Progress) { _ = out.send(message{Progress: &p}) }})
	} else {
		_ = out.send(message{Stderr: []byte(fmt.Sprintf("peft: the server that holds the registry is of another version (protocol %d, wanted %d); start it anew\n", protocol, q.Protocol))})
	}
	if s.ctx.Err() != nil {
		_ = out.send(message{Stderr: []byte("peft: the server that held the registry ended\n")})
	}
	_ = out.send(message{Code: &code})
}

type sender struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (s *sender) send(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enc.Encode(m)
}

// stream writes to one of the client's outputs.
type stream struct {
	to  *sender
	err bool
}

// Write implements io.Writer.
func (w stream) Write(b []byte) (int, error) {
	m := message{Stdout: b}
	if w.err {
		m = message{Stderr: b}
	}
	if err := w.to.send(m); err != nil {
		return 0, err
	}
	return len(b), nil
}
