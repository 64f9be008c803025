package hub

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// DefaultEndpoint is the hub that is asked when HF_ENDPOINT names none.
const DefaultEndpoint = "https://huggingface.co"

const (
	headerTimeout = 30 * time.Second // for an answer to begin
	stallTimeout  = 60 * time.Second // between two reads of a body
	maxAnswer     = 32 << 20         // bytes of one answer of the API
	maxRedirects  = 10
)

// Client speaks to one hub. Its methods may be called from several goroutines.
type Client struct {
	endpoint *url.URL
	token    string
	http     *http.Client

	stall time.Duration // how long a body may send nothing
	pause time.Duration // before the second attempt; later ones wait longer
	warn  func(string)  // is told of attempts that failed; may be nil
}

// NewClient returns a client of the hub at an http or https address, which may have a user and password instead of a token;
// the token may be empty. Errors wrap ErrName.
func NewClient(endpoint, token string) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "@") {
		// Behind the last @ and without the parser's error, for a password may be badly escaped.
		return nil, fmt.Errorf("hub: endpoint %q: want an address such as %s; look at HF_ENDPOINT: %w", endpoint[strings.LastIndex(endpoint, "@")+1:], DefaultEndpoint, ErrName)
	}
	var authorization string
	switch {
	case u.User != nil && token != "":
		return nil, fmt.Errorf("hub: endpoint %s has a user, and HF_TOKEN is set: want one of them, a request has room for one: %w", u.Host, ErrName)
	case u.User != nil:
		password, _ := u.User.Password()
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		u.User = nil // so that no message and no manifest has it
	case token != "":
		authorization = "Bearer " + token
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = headerTimeout
	transport.DisableCompression = true // sizes and ranges count the file's own bytes
	return &Client{
		endpoint: u, token: token, stall: stallTimeout, pause: time.Second / 2,
		http: &http.Client{Transport: authorized{u, authorization, transport}, CheckRedirect: checkRedirect},
	}, nil
}

// FromEnvironment returns a client of HF_ENDPOINT with the token HF_TOKEN, the variables of huggingface_hub.
func FromEnvironment() (*Client, error) {
	return NewClient(cmp.Or(os.Getenv("HF_ENDPOINT"), DefaultEndpoint), strings.TrimSpace(os.Getenv("HF_TOKEN")))
}

// authorized adds a header to requests to the endpoint, and to no others: files come from other hosts, by redirects.
// net/http itself would pass an Authorization header on to subdomains and other ports.
type authorized struct {
	endpoint *url.URL
	header   string // empty for none
	next     http.RoundTripper
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.header != "" && r.URL.Scheme == a.endpoint.Scheme && r.URL.Host == a.endpoint.Host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", a.header)
	}
	return a.next.RoundTrip(r)
}

var errRedirect = errors.New("redirect refused")

func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects: %w", maxRedirects, errRedirect)
	}
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return fmt.Errorf("from https to %s: %w", r.URL.Scheme, errRedirect)
	}
	return nil
}

// do sends a request. The error of an attempt that another one may mend is plain, of any other a backoff.PermanentError.
// The caller closes the body of an answer, which has one of the wanted statuses.
func (c *Client) do(r *http.Request, wanted ...int) (*http.Response, error) {
	r.Header.Set("User-Agent", "peft")
	resp, err := c.http.Do(r)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without its address, which after a redirect may be a signed one that opens a private file
		}
		err = fmt.Errorf("hub: %s: %w: %w", r.URL, ErrServer, err)
		if hopeless(err) {
			return nil, backoff.Permanent(fmt.Errorf("%w; look at HF_ENDPOINT and the network", err))
		}
		return nil, err
	}
	for _, s := range wanted {
		if resp.StatusCode == s {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	return nil, c.statusError(r, resp)
}

// getJSON reads one answer of the API into v and returns its headers.
func (c *Client) getJSON(ctx context.Context, address string, v any) (http.Header, error) {
	return retry(ctx, c.patience(), c.warn, func() (http.Header, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return nil, backoff.Permanent(fmt.Errorf("hub: %w: %w", ErrName, err))
		}
		resp, err := c.do(r, http.StatusOK)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body := newWatched(resp.Body, c.stall)
		defer body.stop()
		b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
		if err != nil {
			return nil, fmt.Errorf("hub: %s: the answer broke off: %w: %w", address, ErrServer, err)
		}
		if len(b) > maxAnswer {
			return nil, backoff.Permanent(fmt.Errorf("hub: %s: the answer has more than %d bytes: %w", address, maxAnswer, ErrCorrupt))
		}
		if err := json.Unmarshal(b, v); err != nil {
			return nil, backoff.Permanent(fmt.Errorf("hub: %s answers %.40q, want JSON; is HF_ENDPOINT a hub? %w: %w", address, b, ErrCorrupt, err))
		}
		return resp.Header, nil
	})
}

// watched is a body that is closed when it sends nothing for a while, so that a read fails rather than waits for ever.
type watched struct {
	body  io.Reader
	timer *time.Timer
	after time.Duration
}

func newWatched(body io.ReadCloser, after time.Duration) watched {
	return watched{body, time.AfterFunc(after, func() { _ = body.Close() }), after}
}

func (w watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.after)
	return w.body.Read(p)
}

func (w watched) stop() { w.timer.Stop() }
