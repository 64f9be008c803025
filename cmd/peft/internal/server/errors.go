package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/registry"
)

// apiError is an error with its HTTP status.
type apiError struct {
	status int
	kind   string
	param  string
	err    error
}

func (e *apiError) Error() string { return e.err.Error() }
func (e *apiError) Unwrap() error { return e.err }

func badRequest(param, format string, a ...any) error {
	return &apiError{http.StatusBadRequest, "invalid_request_error", param, fmt.Errorf(format, a...)}
}

// clientGone is the status of a request whose client went away, as nginx has it; nobody but the log sees it.
const clientGone = 499

// asAPI finds the status, kind and parameter of an error.
func asAPI(err error) *apiError {
	var api *apiError
	switch {
	case errors.As(err, &api):
		return api
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrName):
		return &apiError{http.StatusNotFound, "invalid_request_error", "model", err}
	case errors.Is(err, peft.ErrScale):
		return &apiError{http.StatusBadRequest, "invalid_request_error", "model", err}
	case errors.Is(err, llama.ErrInput), errors.Is(err, tokenizer.ErrUnsupported), errors.Is(err, tokenizer.ErrInvalid), errors.Is(err, peft.ErrOtherBase):
		return &apiError{http.StatusBadRequest, "invalid_request_error", "", err}
	case errors.Is(err, peft.ErrBusy):
		return &apiError{http.StatusTooManyRequests, "rate_limit_error", "", err}
	case errors.Is(err, context.Canceled):
		return &apiError{clientGone, "canceled", "", err}
	case errors.Is(err, context.DeadlineExceeded):
		return &apiError{http.StatusGatewayTimeout, "timeout_error", "", err}
	}
	return &apiError{http.StatusInternalServerError, "server_error", "", err}
}

// object is the protocol's error object.
func (e *apiError) object(err error) map[string]any {
	var param any
	if e.param != "" {
		param = e.param
	}
	return map[string]any{"error": map[string]any{"message": err.Error(), "type": e.kind, "param": param, "code": nil}}
}

// fail writes the protocol's error object, and when to try again where an error says it.
func fail(w http.ResponseWriter, err error) {
	api := asAPI(err)
	if busy := (*peft.BusyError)(nil); errors.As(err, &busy) {
		retryAfter(w, busy.RetryAfter)
	}
	if limit := (*limitError)(nil); errors.As(err, &limit) {
		retryAfter(w, limit.wait)
	}
	blame(w, api.status, err)
	write(w, api.status, api.object(err))
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone when this fails
}
