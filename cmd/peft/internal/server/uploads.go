package server

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxUpload bounds an uploaded file where Options does not, in bytes.
const maxUpload = 1 << 30

// uploads are files that callers sent, for jobs and new sets to read. They are in one directory, and nothing that a caller
// names can be outside of it.
type uploads struct {
	dir   string
	limit int64
	root  *os.Root
	mu    sync.Mutex // a name is looked up and taken at once
}

// upload describes a file.
type upload struct {
	Name    string    `json:"name"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
}

// partial begins the names of files that are still being received.
const partial = ".part-"

// uploadName is what a file may be called: no directories, nothing hidden.
var uploadName = regexp.MustCompile(`^[\p{L}\p{N}_][\p{L}\p{N}_ .+-]{0,126}$`)

func openUploads(dir string, limit int64) (*uploads, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	u := &uploads{dir: dir, limit: cmp.Or(limit, maxUpload), root: root}
	return u, u.sweep()
}

// sweep removes what an interrupted upload left.
func (u *uploads) sweep() error {
	all, err := fs.ReadDir(u.root.FS(), ".")
	for _, f := range all {
		if strings.HasPrefix(f.Name(), partial) {
			err = errors.Join(err, u.root.Remove(f.Name()))
		}
	}
	return err
}

func (u *uploads) close() error { return u.root.Close() }

func checkUploadName(name string) error {
	if !uploadName.MatchString(name) {
		return badRequest("name", "file name %q: want letters, digits and . _ + - or blanks, without a directory, at most 127", name)
	}
	return nil
}

// add receives a file. It is there as a whole or not at all.
func (u *uploads) add(name string, r io.Reader) (info upload, err error) {
	if err := checkUploadName(name); err != nil {
		return upload{}, err
	}
	if _, err := u.stat(name); err == nil { // before it is received for nothing
		return upload{}, taken(name)
	}
	tmp := partial + rand.Text()
	f, err := u.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return upload{}, fmt.Errorf("upload %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.root.Remove(tmp))
		}
	}()
	n, err := io.Copy(f, io.LimitReader(r, u.limit+1))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return upload{}, fmt.Errorf("upload %s: %w", name, err)
	}
	switch {
	case n > u.limit:
		return upload{}, &apiError{http.StatusRequestEntityTooLarge, "invalid_request_error", "file", fmt.Errorf("file %s is larger than the %d bytes that the server takes", name, u.limit)}
	case n == 0:
		return upload{}, badRequest("file", "file %s is empty", name)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.stat(name); err == nil {
		return upload{}, taken(name)
	}
	if err := u.root.Rename(tmp, name); err != nil {
		return upload{}, fmt.Errorf("upload %s: %w", name, err)
	}
	return u.stat(name)
}

func taken(name string) error {
	return &apiError{http.StatusConflict, "invalid_request_error", "name", fmt.Errorf("there is a file %s already; delete it, or choose another name", name)}
}

func (u *uploads) stat(name string) (upload, error) {
	if err := checkUploadName(name); err != nil {
		return upload{}, err
	}
	st, err := u.root.Lstat(name)
	if err != nil || !st.Mode().IsRegular() {
		return upload{}, &apiError{http.StatusNotFound, "invalid_request_error", "data", fmt.Errorf("no file %s was uploaded", name)}
	}
	return upload{name, st.Size(), st.ModTime().UTC()}, nil
}

func (u *uploads) list() ([]upload, error) {
	all, err := fs.ReadDir(u.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	files := []upload{}
	for _, f := range all {
		if up, err := u.stat(f.Name()); err == nil {
			files = append(files, up)
		}
	}
	return files, nil
}

func (u *uploads) remove(name string) error {
	if _, err := u.stat(name); err != nil {
		return err
	}
	return u.root.Remove(name)
}

// paths returns the paths of uploaded files.
func (u *uploads) paths(names []string) ([]string, error) {
	paths := make([]string, len(names))
	for i, n := range names {
		if _, err := u.stat(n); err != nil {
			return nil, err
		}
		paths[i] = filepath.Join(u.dir, n)
	}
	return paths, nil
}

// fileRef names an uploaded file, or holds one: {"name", "content"} is uploaded with the request that has it.
type fileRef struct{ Name, Content string }

// UnmarshalJSON implements json.Unmarshaler.
func (f *fileRef) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &f.Name) == nil {
		return nil
	}
	type plain fileRef
	return json.Unmarshal(b, (*plain)(f))
}

// resolve uploads what is held and returns all names. One that is there already with the same content is the same file.
func (u *uploads) resolve(refs []fileRef) ([]string, error) {
	names := make([]string, len(refs))
	for i, f := range refs {
		names[i] = f.Name
		if f.Content == "" {
			if _, err := u.stat(f.Name); err != nil {
				return nil, err
			}
			continue
		}
		if _, err := u.add(f.Name, strings.NewReader(f.Content)); err != nil {
			if old, rerr := u.root.ReadFile(f.Name); rerr != nil || string(old) != f.Content {
				return nil, err
			}
		}
	}
	return names, nil
}

const uploadsPath = "/peft/v1/files"

func (s *Server) routeUploads() {
	s.handle("GET "+uploadsPath, admin, s.listFiles)
	s.handle("POST "+uploadsPath, admin, s.addFiles)
	s.handle("DELETE "+uploadsPath+"/{name}", admin, s.removeFile)
}

func (s *Server) listFiles(w http.ResponseWriter, _ *http.Request) {
	files, err := s.uploads.list()
	answerWith(w, http.StatusOK, map[string]any{"files": files}, err)
}

// addFiles takes a form's files, or a body whose name is in the query.
func (s *Server) addFiles(w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		f, err := s.uploads.add(r.URL.Query().Get("name"), r.Body)
		answerWith(w, http.StatusCreated, map[string]any{"files": []upload{f}}, err)
		return
	}
	form, err := r.MultipartReader()
	if err != nil {
		fail(w, badRequest("file", "the form cannot be read: %w", err))
		return
	}
	files, err := s.addForm(form)
	answerWith(w, http.StatusCreated, map[string]any{"files": files}, err)
}

func (s *Server) addForm(form *multipart.Reader) ([]upload, error) {
	var files []upload
	for {
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF) && len(files) == 0:
			return nil, badRequest("file", "the form has no file")
		case errors.Is(err, io.EOF):
			return files, nil
		case errors.As(err, new(*apiError)):
			return nil, err
		case err != nil:
			return nil, badRequest("file", "the form cannot be read: %w", err)
		}
		if part.FileName() == "" {
			continue
		}
		f, err := s.uploads.add(part.FileName(), part)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
}

func (s *Server) removeFile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if id := s.jobs.reading(name); id != "" {
		fail(w, &apiError{http.StatusConflict, "invalid_request_error", "name", fmt.Errorf("job %s still needs the file %s; cancel it first", id, name)})
		return
	}
	answerWith(w, http.StatusOK, map[string]any{"removed": name}, s.uploads.remove(name))
}

// answerWith answers with v, or with the error.
func answerWith(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	write(w, status, v)
}
