package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gopeft/peft/cmd/peft/internal/access"
	"github.com/gopeft/peft/registry"
)

// AccessOptions say who is answered. Without keys in the registry, and unless they are required, everybody on this machine
// is.
type AccessOptions struct {
	Required bool     // keys are needed even where the registry has none
	Insecure bool     // without keys, requests from other machines and pages are answered as well
	Origins  []string // of pages whose scripts may call the server (CORS), * for all
	Limits
}

// guard decides which requests are answered.
type guard struct {
	o      AccessOptions
	locked atomic.Bool // keys were seen: revoking the last one opens nothing
	rates  rates
}

// keysNeeded reports whether callers need a key.
func (s *Server) keysNeeded() bool {
	if s.guard.o.Required || s.guard.locked.Load() {
		return true
	}
	if !access.Any(s.e.Registry()) {
		return false
	}
	s.guard.locked.Store(true)
	return true
}

func refusal(status int, kind, format string, a ...any) error {
	return &apiError{status, kind, "", fmt.Errorf(format, a...)}
}

// authorise wraps a handler: it is reached only by those who have the scope.
func (s *Server) authorise(need scope, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		if need != public {
			if err := s.admit(w, r, x, need); err != nil {
				fail(w, err)
				return
			}
		}
		if need != public && need != monitor { // these end when the process does
			if !s.running.TryRLock() {
				fail(w, draining(w))
				return
			}
			defer s.running.RUnlock()
		}
		h(w, r)
	}
}

// admit returns the error that a caller without the scope gets.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, x *exchange, need scope) error {
	if wait := s.guard.rates.take("from "+x.address, s.guard.o.RequestsPerMinute, 1); wait > 0 {
		return tooMany(w, wait, "more than %d requests a minute from %s", s.guard.o.RequestsPerMinute, x.address)
	}
	if !s.keysNeeded() {
		return s.local(r)
	}
	secret, ok := bearer(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="peft"`)
		return refusal(http.StatusUnauthorized, "authentication_error", "this server needs an API key; send it as Authorization: Bearer KEY")
	}
	key, err := access.Check(s.e.Registry(), secret)
	if errors.Is(err, access.ErrDenied) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="peft", error="invalid_token"`)
		return refusal(http.StatusUnauthorized, "authentication_error", "%w", err)
	}
	if err != nil {
		return err
	}
	x.key = key
	if !may(key, need) {
		return refusal(http.StatusForbidden, "permission_error", "key %s may not do this", key.Name)
	}
	if wait := s.guard.rates.take("key "+key.Name, key.RequestsPerMinute, 1); wait > 0 {
		return tooMany(w, wait, "more than %d requests a minute with key %s", key.RequestsPerMinute, key.Name)
	}
	for _, p := range []string{"ref", "name"} { // sets, in the paths that keys for some of them may use
		if ref := r.PathValue(p); ref != "" {
			if err := allowed(r.Context(), []string{ref}); err != nil {
				return err
			}
		}
	}
	return nil
}

func bearer(r *http.Request) (string, bool) {
	kind, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(kind, "Bearer")
}

// local checks a request to a server without keys: a page on the web must not reach it by a name that it has pointed at this
// machine (DNS rebinding), nor by the browser of somebody here.
func (s *Server) local(r *http.Request) error {
	if s.guard.o.Insecure {
		return nil
	}
	if !isLocal(r.Host) {
		return refusal(http.StatusForbidden, "permission_error", "without API keys the server answers to the names of this machine only, not to %q; make a key with peft keys add, or serve with --insecure", r.Host)
	}
	if o := r.Header.Get("Origin"); o != "" && !s.allowsOrigin(o) {
		if u, err := url.Parse(o); err != nil || u.Host != r.Host {
			return refusal(http.StatusForbidden, "permission_error", "a page of %q may not call this server; allow it with --cors-origin", o)
		}
	}
	return nil
}

// isLocal reports whether a host, with or without a port, is a name of the loopback interface.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	a, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && a.Unmap().IsLoopback()
}

func (s *Server) allowsOrigin(o string) bool {
	return slices.Contains(s.guard.o.Origins, "*") || slices.Contains(s.guard.o.Origins, o)
}

// cors lets pages of the allowed origins read the answers. It reports whether the request was only to ask for that.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	o := r.Header.Get("Origin")
	if o == "" || !s.allowsOrigin(o) {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", o)
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id, Traceparent")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// setName is a set's name without revision and strength.
func setName(ref string) string {
	if i := strings.IndexAny(ref, "@*"); i >= 0 {
		return ref[:i]
	}
	return ref
}

// visible reports whether the caller sees a set, given as name, name@revision or name*strength.
func (s *Server) visible(ctx context.Context, set string) bool { return sees(ctx, set) }

func sees(ctx context.Context, set string) bool {
	k := exchangeOf(ctx).key
	return k == nil || k.Sees(setName(set))
}

// allowed returns the error for the first set that the caller does not see: the one for a set that does not exist.
func allowed(ctx context.Context, sets []string) error {
	for _, ref := range sets {
		if !sees(ctx, ref) {
			ref, _, _ = strings.Cut(ref, "*")
			return fmt.Errorf("expert set %s: %w; see peft list", ref, registry.ErrNotFound)
		}
	}
	return nil
}

// narrow keeps a caller's sets to those it sees, and auto to the ones among them.
func (s *Server) narrow(ctx context.Context, sets []string, auto bool) ([]string, bool, error) {
	if err := allowed(ctx, sets); err != nil {
		return nil, false, err
	}
	k := exchangeOf(ctx).key
	if !auto || len(sets) > 0 || k == nil || len(k.Sets) == 0 {
		return sets, auto, nil
	}
	gated, err := s.e.Gated(ctx)
	if err != nil {
		return nil, false, err
	}
	sets, auto = autoFor(k, gated)
	return sets, auto, nil
}

// autoFor returns the sets that auto decides between for a key; without any it is the base, since none named would mean all.
func autoFor(k *access.Key, gated []string) (sets []string, auto bool) {
	sets = slices.DeleteFunc(gated, func(n string) bool { return !k.Sees(n) })
	return sets, len(sets) > 0
}

func tooMany(w http.ResponseWriter, wait time.Duration, format string, a ...any) error {
	retryAfter(w, wait)
	return refusal(http.StatusTooManyRequests, "rate_limit_error", format, a...)
}

// retryAfter tells when to come again, in whole seconds.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second))))
}

// may reports whether a key has a scope.
func may(k *access.Key, need scope) bool {
	switch {
	case k.Admin:
		return true
	case k.Metrics:
		return need == monitor
	}
	return need == use
}
