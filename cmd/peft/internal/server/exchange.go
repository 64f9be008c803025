package server

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/gopeft/peft/cmd/peft/internal/access"
)

// exchange is what is known of a request while it is answered.
type exchange struct {
	id      string
	address string      // of the client; of IPv6, its network of 64 bits, since that is what one client has
	key     *access.Key // nil without one
	began   time.Time

	prompt, written atomic.Int64 // tokens
}

type exchangeKey struct{}

// exchangeOf returns the exchange that a context belongs to; an empty one for work that no request began.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{began: time.Now()}
}

// requestID is what a client may call its request.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

func newExchange(r *http.Request) *exchange {
	x := &exchange{id: r.Header.Get("X-Request-Id"), address: clientAddress(r.RemoteAddr), began: time.Now()}
	if !requestID.MatchString(x.id) {
		x.id = rand.Text()
	}
	return x
}

func clientAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// client names who asks, for what is shared fairly.
func (x *exchange) client() string {
	if x.key != nil {
		return "key " + x.key.Name
	}
	return x.address
}

// recorder passes a response on and keeps its status and size.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	err    error // that the server is to blame for
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController what is underneath.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// blame keeps the error of a response whose status says that the server failed.
func blame(w http.ResponseWriter, status int, err error) {
	if rec, ok := w.(*recorder); ok && status >= http.StatusInternalServerError {
		rec.err = err
	}
}
