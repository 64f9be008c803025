package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxTries = 8
	// longestWait is the longest that is waited because the server asks for it; the hub's limits count in windows of five
	// minutes (https://huggingface.co/docs/hub/rate-limits).
	longestWait = 6 * time.Minute
	// progressBytes are how much further than ever a file must come for the tries to be counted anew.
	progressBytes = 1 << 20
)

// patience says how long to wait before the next attempt, and when to give up: after maxTries attempts that brought
// nothing new. A long file on a bad line may take any number that each bring something.
type patience struct {
	*backoff.ExponentialBackOff
	tries int
}

func (c *Client) patience() *patience {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = c.pause, 60*c.pause
	return &patience{ExponentialBackOff: b}
}

// NextBackOff is part of backoff.BackOff.
func (p *patience) NextBackOff() time.Duration {
	if p.tries++; p.tries >= maxTries {
		return backoff.Stop
	}
	return p.ExponentialBackOff.NextBackOff()
}

// progress counts the tries anew.
func (p *patience) progress() {
	p.tries = 0
	p.Reset()
}

func retry[T any](ctx context.Context, p *patience, warn func(string), f func() (T, error)) (T, error) {
	v, err := backoff.Retry(ctx, f, backoff.WithBackOff(p), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, d time.Duration) {
		if warn != nil {
			warn(fmt.Sprintf("%v; trying again in %v", err, d.Round(100*time.Millisecond)))
		}
	}))
	if err != nil && ctx.Err() == nil && p.tries >= maxTries {
		err = fmt.Errorf("%w (%d attempts; pull again to go on)", err, p.tries)
	}
	return v, err
}

// hopeless says whether the same request would fail again.
func hopeless(err error) bool {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.Is(err, errRedirect) || errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &cert)
}

// statusError says what an answer other than the wanted one means and what to do.
func (c *Client) statusError(r *http.Request, resp *http.Response) error {
	s, what := resp.StatusCode, fmt.Sprintf("hub: %s: %s", r.URL, resp.Status)
	if m := resp.Header.Get("X-Error-Message"); m != "" {
		what += fmt.Sprintf(" %.200q", m)
	}
	if h := resp.Request.URL.Host; h != c.endpoint.Host { // its addresses are made anew for every attempt
		return fmt.Errorf("%s from %s, where the hub keeps the file: %w", what, h, ErrServer)
	}
	switch s {
	case http.StatusUnauthorized:
		advice := "there is no such repository, or it is private or gated: look at the name, or set HF_TOKEN to a token that may read it"
		if c.token != "" {
			advice = "the token in HF_TOKEN is not valid, or the repository does not exist"
		}
		return backoff.Permanent(fmt.Errorf("%s: %s: %w", what, advice, ErrDenied))
	case http.StatusForbidden:
		return backoff.Permanent(fmt.Errorf("%s: the account of HF_TOKEN may not read this; a gated model's terms are accepted on its page at %s: %w", what, c.endpoint, ErrDenied))
	case http.StatusNotFound:
		advice := "look at the name"
		if code := resp.Header.Get("X-Error-Code"); code == "RevisionNotFound" {
			advice = "the repository has no such branch, tag or commit"
		}
		return backoff.Permanent(fmt.Errorf("%s: %s: %w", what, advice, ErrNotFound))
	}
	err := fmt.Errorf("%s: %w", what, ErrServer)
	if s != http.StatusTooManyRequests && s != http.StatusRequestTimeout && s < http.StatusInternalServerError {
		return backoff.Permanent(err)
	}
	if wait, ok := retryAfter(resp.Header, time.Now()); ok {
		if wait > longestWait {
			return backoff.Permanent(fmt.Errorf("%w, and asks to wait %v: pull again then; a token in HF_TOKEN may raise the limit", err, wait.Round(time.Second)))
		}
		return fmt.Errorf("%w (%w)", err, &backoff.RetryAfterError{Duration: wait})
	}
	return err
}

var rateLimitReset = regexp.MustCompile(`;\s*r=0\s*;\s*t=(\d{1,9})\b`)

// retryAfter returns how long the server asks to wait: Retry-After in seconds or as a date (RFC 9110, section 10.2.3), or
// the hub's RateLimit header, where nothing is left (r=0) for t seconds.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if m := rateLimitReset.FindStringSubmatch(h.Get("RateLimit")); v == "" && m != nil {
		v = m[1]
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
