package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gopeft/peft"
)

// Bounds of what one request may ask for.
const (
	maxChoices  = 128 // of all its prompts
	maxStops    = 16
	maxLogProbs = 20
)

// request is what completions and chat completions have in common: OpenAI's fields, vLLM's for sampling, llama.cpp's lora and
// peft's own. Fields that are not known are left alone.
type request struct {
	Model               string             `json:"model"`
	Prompt              json.RawMessage    `json:"prompt"`
	Messages            []json.RawMessage  `json:"messages"`
	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Temperature         *float64           `json:"temperature"`
	TopP                *float64           `json:"top_p"`
	TopK                *int               `json:"top_k"`
	MinP                *float64           `json:"min_p"`
	Repetition          *float64           `json:"repetition_penalty"`
	Presence            *float64           `json:"presence_penalty"`
	Frequency           *float64           `json:"frequency_penalty"`
	LogitBias           map[string]float64 `json:"logit_bias"`
	LogProbs            json.RawMessage    `json:"logprobs"` // a number in completions, true in chat
	TopLogProbs         *int               `json:"top_logprobs"`
	Seed                *int64             `json:"seed"`
	N                   *int               `json:"n"`
	BestOf              *int               `json:"best_of"`
	Echo                bool               `json:"echo"`
	Suffix              string             `json:"suffix"`
	Stop                json.RawMessage    `json:"stop"`
	Stream              bool               `json:"stream"`
	StreamOptions       *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	ResponseFormat *struct {
		Type string `json:"type"`
	} `json:"response_format"`
	Tools []json.RawMessage `json:"tools"`
	LoRA  []adapterScale    `json:"lora"`
	Peft  *struct {
		Provenance json.RawMessage `json:"provenance"` // true, or "tokens"
	} `json:"peft"`
}

// decode reads a request's JSON object into v. Fields that v lacks are left alone.
func decode(r *http.Request, v any) error { return decodeWith(json.NewDecoder(r.Body), v) }

// decodeStrict is decode where fields that v lacks are errors, for what changes the registry.
func decodeStrict(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	return decodeWith(d, v)
}

func decodeWith(d *json.Decoder, v any) error {
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err == nil {
			err = errors.New("something follows the object")
		}
	}
	var api *apiError
	var big *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &api):
		return err
	case errors.As(err, &big):
		return &apiError{http.StatusRequestEntityTooLarge, "invalid_request_error", "", fmt.Errorf("the request is larger than %d bytes; files of that size go to "+uploadsPath, big.Limit)}
	case errors.As(err, &kind) && kind.Field != "":
		return badRequest(kind.Field, "%s is a %s, want %s", kind.Field, kind.Value, kind.Type)
	}
	return badRequest("", "the request is no JSON object of this call: %w", err)
}

// read reads a request and refuses what no model here does.
func read(r *http.Request) (*request, error) {
	var q request
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	switch {
	case q.N != nil && (*q.N < 1 || *q.N > maxChoices):
		return nil, badRequest("n", "n is %d, want 1 to %d", *q.N, maxChoices)
	case q.BestOf != nil && *q.BestOf != 1:
		return nil, badRequest("best_of", "best_of is %d; only 1 is served: choose by logprobs among n", *q.BestOf)
	case q.Suffix != "":
		return nil, badRequest("suffix", "a suffix is not served: the models only go on")
	case len(q.Tools) > 0:
		return nil, badRequest("tools", "tools are not served")
	case q.ResponseFormat != nil && q.ResponseFormat.Type != "text":
		return nil, badRequest("response_format", "response_format %q is not served: answers are not held to a grammar or schema; ask for the form in words", q.ResponseFormat.Type)
	}
	return &q, nil
}

func (q *request) n() int {
	if q.N == nil {
		return 1
	}
	return *q.N
}

// among writes a field's number to dst, when there is one, and refuses it outside of from to to.
func among[T int | float64](dst, field *T, name string, from, to T) error {
	if field == nil {
		return nil
	}
	if *dst = *field; !(*dst >= from && *dst <= to) {
		return badRequest(name, "%s is %v, want %v to %v", name, *dst, from, to)
	}
	return nil
}

// options translates what a request says of sets and sampling. limit is the answer's length unless the request has one.
func (s *Server) options(r *http.Request, q *request, limit int) (peft.GenerateOptions, error) {
	o := peft.GenerateOptions{MaxTokens: limit, Temperature: 1, TopP: 1, Seed: uint64(s.ids.Add(1)) ^ uint64(time.Now().UnixNano())}
	for _, err := range []error{
		among(&o.MaxTokens, q.MaxTokens, "max_tokens", 1, math.MaxInt32),
		among(&o.MaxTokens, q.MaxCompletionTokens, "max_completion_tokens", 1, math.MaxInt32),
		among(&o.Temperature, q.Temperature, "temperature", 0, 2),
		among(&o.TopP, q.TopP, "top_p", 0, 1),
		among(&o.TopK, q.TopK, "top_k", -1, math.MaxInt32),
		among(&o.MinP, q.MinP, "min_p", 0, 1),
		among(&o.Repetition, q.Repetition, "repetition_penalty", 1e-3, 1e3),
		among(&o.Presence, q.Presence, "presence_penalty", -2, 2),
		among(&o.Frequency, q.Frequency, "frequency_penalty", -2, 2),
	} {
		if err != nil {
			return o, err
		}
	}
	o.TopK = max(0, o.TopK) // -1 is vLLM's word for all
	if o.TopP == 0 {        // the smallest set of tokens is one of them, while 0 means all below
		o.TopP = math.SmallestNonzeroFloat64
	}
	if q.Seed != nil {
		o.Seed = uint64(*q.Seed)
	}
	var err error
	if o.Sets, o.Auto, err = s.named(r, q); err != nil {
		return o, err
	}
	if o.LogitBias, err = s.bias(q.LogitBias); err != nil {
		return o, err
	}
	if o.Stop, err = stopStrings(q.Stop); err != nil {
		return o, err
	}
	o.Provenance, _, err = q.provenance()
	return o, err
}

func (s *Server) bias(of map[string]float64) (map[int32]float32, error) {
	if len(of) == 0 {
		return nil, nil
	}
	b, err := s.e.Base()
	if err != nil {
		return nil, err
	}
	list := make(map[int32]float32, len(of))
	for name, v := range of {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil || id < 0 || int(id) >= b.Tokenizer.Vocab() {
			return nil, badRequest("logit_bias", "logit_bias has token %q, the model's are 0 to %d", name, b.Tokenizer.Vocab()-1)
		}
		if !(v >= -100 && v <= 100) {
			return nil, badRequest("logit_bias", "logit_bias of token %d is %v, want -100 to 100", id, v)
		}
		list[int32(id)] = float32(v)
	}
	return list, nil
}

// absent reports whether a field is missing or null.
func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func stopStrings(raw json.RawMessage) ([]string, error) {
	var one string
	var many []string
	switch {
	case absent(raw):
		return nil, nil
	case json.Unmarshal(raw, &one) == nil:
		many = []string{one}
	case json.Unmarshal(raw, &many) != nil:
		return nil, badRequest("stop", "stop is neither a string nor a list of strings")
	}
	if len(many) > maxStops {
		return nil, badRequest("stop", "%d stop strings, at most %d are served", len(many), maxStops)
	}
	for _, s := range many {
		if s == "" {
			return nil, badRequest("stop", "a stop string is empty")
		}
	}
	return many, nil
}

// provenance reports whether a request wants to know what each set contributed, in all and to each token.
func (q *request) provenance() (sums, tokens bool, err error) {
	if q.Peft == nil || absent(q.Peft.Provenance) {
		return false, false, nil
	}
	switch strings.TrimSpace(string(q.Peft.Provenance)) {
	case "false":
		return false, false, nil
	case "true":
		sums = true
	case `"tokens"`:
		sums, tokens = true, true
	default:
		return false, false, badRequest("peft.provenance", `peft.provenance is %s, want true or "tokens"`, q.Peft.Provenance)
	}
	if q.n() > 1 {
		return false, false, badRequest("peft.provenance", "peft.provenance with n %d: it tells of one choice", q.n())
	}
	return sums, tokens, nil
}
