package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"
)

// maxTexts bounds how many texts one call embeds, as the protocol has it.
const maxTexts = 2048

// textsAtOnce is how many of them wait in the batcher's queue at a time: all would fill it.
const textsAtOnce = 32

type embedRequest struct {
	request
	Input      json.RawMessage `json:"input"`
	Encoding   string          `json:"encoding_format"`
	Dimensions *int            `json:"dimensions"`
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	if err := s.embed(w, r); err != nil {
		fail(w, err)
	}
}

func (s *Server) embed(w http.ResponseWriter, r *http.Request) error {
	var q embedRequest
	if err := decode(r, &q); err != nil {
		return err
	}
	texts, err := inputs(q.Input)
	if err != nil {
		return err
	}
	if q.Encoding != "" && q.Encoding != "float" && q.Encoding != "base64" {
		return badRequest("encoding_format", "encoding_format is %q, want float or base64", q.Encoding)
	}
	b, err := s.e.Base()
	if err != nil {
		return err
	}
	dimensions := b.Model.Config.Hidden
	if err := among(&dimensions, q.Dimensions, "dimensions", 1, dimensions); err != nil {
		return err
	}
	sets, auto, err := s.named(r, &q.request)
	if err != nil {
		return err
	}
	var vectors [][]float32
	tokens := 0
	for part := range slices.Chunk(texts, textsAtOnce) {
		v, n, err := s.batch.Embed(r.Context(), part, sets, auto)
		if err != nil {
			return err
		}
		vectors, tokens = append(vectors, v...), tokens+n
	}
	list := make([]any, len(vectors))
	for i, v := range vectors {
		list[i] = map[string]any{"object": "embedding", "index": i, "embedding": encoded(shorter(v, dimensions), q.Encoding)}
	}
	write(w, http.StatusOK, map[string]any{"object": "list", "model": q.Model, "data": list, "usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}})
	return nil
}

func inputs(raw json.RawMessage) ([]string, error) {
	var one string
	var many []string
	switch {
	case absent(raw):
		return nil, badRequest("input", "there is no input")
	case json.Unmarshal(raw, &one) == nil:
		many = []string{one}
	case json.Unmarshal(raw, &many) != nil:
		return nil, badRequest("input", "input is neither a string nor a list of strings; token ids are not taken, as every model has its own")
	}
	if len(many) == 0 || len(many) > maxTexts {
		return nil, badRequest("input", "input has %d texts, want 1 to %d", len(many), maxTexts)
	}
	for i, text := range many {
		if text == "" {
			return nil, badRequest("input", "text %d of input is empty", i)
		}
	}
	return many, nil
}

// shorter keeps the first n dimensions and makes them of length 1 again.
func shorter(v []float32, n int) []float32 {
	if n == len(v) {
		return v
	}
	var square float64
	for _, x := range v[:n] {
		square += float64(x) * float64(x)
	}
	if square == 0 {
		return v[:n]
	}
	short := make([]float32, n)
	for i, x := range v[:n] {
		short[i] = float32(float64(x) / math.Sqrt(square))
	}
	return short
}

// encoded is a vector as JSON writes it, or the base64 of its little-endian bytes.
func encoded(v []float32, format string) any {
	if format != "base64" {
		return v
	}
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
