package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names blobs by it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/cenkalti/backoff/v5"
)

const (
	partialSuffix = ".partial"
	etagSuffix    = ".etag"
)

// newSum returns the hash that the file's checksum is of.
func (f File) newSum() hash.Hash {
	if f.SHA256 != "" {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.Size) // git's object header
	return h
}

func (f File) checksum() string {
	if f.SHA256 != "" {
		return f.SHA256
	}
	return f.GitSHA1
}

// check reports whether a file is there with the bytes that it must have.
func check(root *os.Root, name string, f File) (bool, error) {
	r, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	if st, err := r.Stat(); err != nil || st.Size() != f.Size {
		return false, err
	}
	sum := f.newSum()
	if _, err := io.Copy(sum, r); err != nil {
		return false, err
	}
	return hex.EncodeToString(sum.Sum(nil)) == f.checksum(), nil
}

// download is a file on its way into the cache.
type download struct {
	c       *Client
	file    File
	address string
	root    *os.Root
	name    string // the file's path in root

	part    *os.File // the beginning that is here
	at      int64    // its length, bytes
	sum     hash.Hash
	etag    string // the server's, of the version that the beginning is of; empty when not known
	patient *patience
	counted int64          // the furthest that at was when the tries were counted anew
	spoiled bool           // the bytes were wrong once already
	moved   func(at int64) // is told of every change of at
}

// download brings a file to its name under root, going on where an earlier attempt ended. Directories must be there.
func (c *Client) download(ctx context.Context, root *os.Root, name, address string, f File, moved func(at int64)) error {
	d := &download{c: c, file: f, address: address, root: root, name: name, patient: c.patience(), moved: moved}
	if err := d.open(); err != nil {
		return fmt.Errorf("hub: %s: %w", name, noSpace(err))
	}
	defer d.part.Close()
	if _, err := retry(ctx, d.patient, c.warn, func() (struct{}, error) { return struct{}{}, d.attempt(ctx) }); err != nil {
		return fmt.Errorf("hub: %s: %w", f.Path, noSpace(err))
	}
	if err := d.finish(); err != nil {
		return fmt.Errorf("hub: %s: %w", name, noSpace(err))
	}
	return nil
}

// open opens the beginning and sums what it has.
func (d *download) open() error {
	var err error
	if d.part, err = d.root.OpenFile(d.name+partialSuffix, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	d.sum = d.file.newSum()
	if d.at, err = io.Copy(d.sum, d.part); err != nil {
		return errors.Join(err, d.part.Close())
	}
	etag, err := d.root.ReadFile(d.name + etagSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, d.part.Close())
	}
	d.etag = string(etag)
	if d.at > d.file.Size {
		if err := d.restart(); err != nil {
			return errors.Join(err, d.part.Close())
		}
	}
	d.counted = d.at
	d.moved(d.at)
	return nil
}

// restart throws the beginning away.
func (d *download) restart() error {
	d.at, d.etag, d.sum = 0, "", d.file.newSum()
	d.moved(0)
	_, err := d.part.Seek(0, io.SeekStart)
	return errors.Join(err, d.part.Truncate(0))
}

// attempt asks for the rest of the file and checks the whole. It returns permanent errors as Client.do does.
func (d *download) attempt(ctx context.Context) error {
	if d.at < d.file.Size {
		resp, err := d.ask(ctx)
		if err != nil {
			return err
		}
		err = d.take(resp)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.file.checksum() {
		err := fmt.Errorf("%w: the bytes have checksum %s, want %s", ErrCorrupt, got, d.file.checksum())
		if e := d.restart(); e != nil {
			return backoff.Permanent(e)
		}
		if d.spoiled {
			return backoff.Permanent(fmt.Errorf("%w, twice", err))
		}
		d.spoiled = true
		return err
	}
	return nil
}

// ask requests the rest. The answer's bytes begin at d.at.
func (d *download) ask(ctx context.Context) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address, http.NoBody)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	if d.at > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.at))
		if d.etag != "" {
			r.Header.Set("If-Range", d.etag)
		}
	}
	resp, err := d.c.do(r, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if from, ok := contentRange(resp.Header.Get("Content-Range")); !ok || from != d.at {
			err = fmt.Errorf("%w: asked for bytes from %d, got %q", ErrCorrupt, d.at, resp.Header.Get("Content-Range"))
		}
	case http.StatusRequestedRangeNotSatisfiable:
		err = fmt.Errorf("%w: no bytes from %d on, of %d", ErrCorrupt, d.at, d.file.Size)
	}
	if err != nil {
		if e := errors.Join(resp.Body.Close(), d.restart()); e != nil {
			err = backoff.Permanent(e)
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && d.at > 0 { // the range was ignored, or the file is another one now
		err = d.restart()
	}
	if err == nil {
		err = d.keepETag(resp.Header.Get("ETag"))
	}
	if err != nil {
		return nil, backoff.Permanent(errors.Join(err, resp.Body.Close()))
	}
	return resp, nil
}

// keepETag remembers the version of the beginning. Weak etags do not serve for ranges (RFC 9110, section 13.1.5).
func (d *download) keepETag(etag string) error {
	if strings.HasPrefix(etag, "W/") {
		etag = ""
	}
	if etag == d.etag {
		return nil
	}
	d.etag = etag
	return d.root.WriteFile(d.name+etagSuffix, []byte(etag), 0o644)
}

// take appends an answer to the beginning.
func (d *download) take(resp *http.Response) error {
	body := newWatched(resp.Body, d.c.stall)
	defer body.stop()
	buf := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buf)
		if int64(n) > d.file.Size-d.at {
			err := fmt.Errorf("%w: more bytes than the %d that the file has", ErrCorrupt, d.file.Size)
			return backoff.Permanent(errors.Join(err, d.restart()))
		}
		if n > 0 {
			if _, err := d.part.Write(buf[:n]); err != nil {
				return backoff.Permanent(err)
			}
			d.sum.Write(buf[:n])
			d.at += int64(n)
			d.moved(d.at)
			if d.at-d.counted >= progressBytes {
				d.counted = d.at
				d.patient.progress()
			}
		}
		if readErr != nil && d.at < d.file.Size {
			return fmt.Errorf("%w: the connection broke at %d of %d bytes: %w", ErrServer, d.at, d.file.Size, readErr)
		}
		if readErr != nil {
			return nil
		}
	}
}

// finish gives the file its name.
func (d *download) finish() error {
	if err := errors.Join(d.part.Sync(), d.part.Close()); err != nil {
		return err
	}
	if err := d.root.Rename(d.name+partialSuffix, d.name); err != nil {
		return err
	}
	if err := d.root.Remove(d.name + etagSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// contentRange returns the first byte's position of "bytes 5-9/10".
func contentRange(s string) (from int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	first, _, dash := strings.Cut(rest, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	return from, ok && dash && err == nil && from >= 0
}

// withChecksum returns the file with the checksum that the server gives beside it, for a tree that has none: X-Linked-Etag,
// or else ETag, which is a SHA-256 for files in Git LFS and the SHA-1 of the git blob for others.
func (c *Client) withChecksum(ctx context.Context, f File, address string) (File, error) {
	if f.checksum() != "" {
		return f, nil
	}
	head := *c.http
	head.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != c.endpoint.Host { // the headers are the hub's own, not those of the host with the bytes
			return http.ErrUseLastResponse
		}
		return checkRedirect(r, via)
	}
	direct := *c
	direct.http = &head
	return retry(ctx, c.patience(), c.warn, func() (File, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, address, http.NoBody)
		if err != nil {
			return f, backoff.Permanent(err)
		}
		resp, err := direct.do(r, http.StatusOK, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect)
		if err != nil {
			return f, err
		}
		if err := resp.Body.Close(); err != nil {
			return f, err
		}
		etag := resp.Header.Get("X-Linked-Etag")
		if etag == "" && resp.StatusCode == http.StatusOK {
			etag = resp.Header.Get("ETag")
		}
		if n, err := strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 64); err == nil && n >= 0 {
			f.Size = n
		}
		switch etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`); {
		case sha256Hex.MatchString(etag):
			f.SHA256 = etag
		case sha1Hex.MatchString(etag):
			f.GitSHA1 = etag
		default:
			return f, backoff.Permanent(fmt.Errorf("hub: %s: neither the list of files nor X-Linked-Etag has a checksum: %w", path.Base(f.Path), ErrCorrupt))
		}
		return f, nil
	})
}
