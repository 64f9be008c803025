package server

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft"
)

// TestOpenAI: every parameter of the protocol on a real server, and every wrong value refused by its name.
func TestOpenAI(t *testing.T) {
	s := serve(t)
	complete := func(t *testing.T, rest string) map[string]any {
		t.Helper()
		code, v := post(t, s, "/v1/completions", `{"model":"tarn","max_tokens":8,`+rest+`}`)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %v", rest, code, v)
		}
		return v
	}
	texts := func(v map[string]any) (list []string) {
		for i, c := range v["choices"].([]any) {
			c := c.(map[string]any)
			if c["index"] != float64(i) {
				t.Errorf("choice %d has index %v", i, c["index"])
			}
			list = append(list, c["text"].(string))
		}
		return list
	}
	greedy := texts(complete(t, `"prompt":"The tarn","temperature":0`))[0]
	t.Run("several", func(t *testing.T) {
		v := complete(t, `"prompt":["The tarn","Nobody"],"n":3,"seed":7`)
		all := texts(v)
		if len(all) != 6 || slices.Compare(all[:3], texts(complete(t, `"prompt":"The tarn","n":3,"seed":7`))) != 0 {
			t.Errorf("%q", all)
		}
		one := complete(t, `"prompt":"The tarn","seed":7`)["usage"].(map[string]any)["prompt_tokens"].(float64)
		other := complete(t, `"prompt":"Nobody","seed":7`)["usage"].(map[string]any)["prompt_tokens"].(float64)
		if u := v["usage"].(map[string]any); u["prompt_tokens"] != one+other {
			t.Errorf("usage %v, want %v prompt tokens, each prompt once", u, one+other)
		}
	})
	t.Run("sampling", func(t *testing.T) {
		for _, same := range []string{`"top_k":1`, `"min_p":1`, `"top_p":0`, `"temperature":0,"seed":3`, `"temperature":0,"best_of":1,"user":"me","unknown":[1]`} {
			if got := texts(complete(t, `"prompt":"The tarn",`+same))[0]; got != greedy {
				t.Errorf("%s: %q, want the greedy %q", same, got, greedy)
			}
		}
		for _, other := range []string{`"repetition_penalty":100`, `"frequency_penalty":2,"presence_penalty":2,"repetition_penalty":3`} {
			if got := texts(complete(t, `"prompt":"The tarn lies still. Nobody rows","temperature":0,`+other))[0]; got == texts(complete(t, `"prompt":"The tarn lies still. Nobody rows","temperature":0`))[0] {
				t.Errorf("%s changes nothing: %q", other, got)
			}
		}
		if got := texts(complete(t, `"prompt":"The tarn","temperature":0,"logit_bias":{"65":100}`))[0]; strings.Count(got, got[:1]) != len(got) {
			t.Errorf("one token of bias 100: %q", got)
		}
	})
	t.Run("echo", func(t *testing.T) {
		if got := texts(complete(t, `"prompt":"The tarn","temperature":0,"echo":true`))[0]; got != "The tarn"+greedy {
			t.Errorf("%q", got)
		}
		if got, _ := stream(t, s, "/v1/completions", `{"model":"tarn","max_tokens":8,"prompt":"The tarn","temperature":0,"echo":true,"stream":true}`); got != "The tarn"+greedy {
			t.Errorf("streamed %q", got)
		}
	})
	t.Run("log-probabilities", func(t *testing.T) {
		v := complete(t, `"prompt":"The tarn","temperature":0,"logprobs":3`)
		p := first(v, "choices")["logprobs"].(map[string]any)
		tokens, of := p["tokens"].([]any), p["token_logprobs"].([]any)
		var text strings.Builder
		for i, token := range tokens {
			text.WriteString(token.(string))
			top := p["top_logprobs"].([]any)[i].(map[string]any)
			best := math.Inf(-1)
			for x := range maps.Values(top) {
				best = max(best, x.(float64))
			}
			if l := of[i].(float64); len(top) != 3 || l > 0 || l != best {
				t.Errorf("token %d %q: %v of %v", i, token, l, top)
			}
		}
		if text.String() != greedy || p["text_offset"].([]any)[1] != float64(len(tokens[0].(string))) {
			t.Errorf("%v, want the tokens of %q", p, greedy)
		}
		if p := first(complete(t, `"prompt":"The tarn","temperature":0,"logprobs":0`), "choices")["logprobs"].(map[string]any); len(p["top_logprobs"].([]any)[0].(map[string]any)) != 0 {
			t.Errorf("0 of the most probable: %v", p)
		}
	})
	t.Run("token ids", func(t *testing.T) {
		one := complete(t, `"prompt":[65,66,67],"temperature":0`)
		if u := one["usage"].(map[string]any); u["prompt_tokens"] != 3.0 {
			t.Errorf("usage %v", u)
		}
		if many := texts(complete(t, `"prompt":[[65,66,67],[70]],"temperature":0`)); len(many) != 2 || many[0] != texts(one)[0] {
			t.Errorf("%q, alone %q", many, texts(one))
		}
	})
	t.Run("streams of several", func(t *testing.T) {
		whole := texts(complete(t, `"prompt":"The tarn","n":3,"seed":11,"stop":"\n"`))
		got := make([]string, 3)
		for _, v := range events(t, s, "/v1/completions", `{"model":"tarn","max_tokens":8,"prompt":"The tarn","n":3,"seed":11,"stop":["\n"],"stream":true}`) {
			c := first(v, "choices")
			got[int(c["index"].(float64))] += c["text"].(string)
		}
		if !slices.Equal(got, whole) {
			t.Errorf("streamed %q, whole %q", got, whole)
		}
	})
	t.Run("provenance", func(t *testing.T) {
		v := complete(t, `"prompt":"The tarn","temperature":0,"peft":{"provenance":"tokens"}`)
		p := v["peft"].(map[string]any)
		if len(p["tokens"].([]any)) < 8 || p["sets"] == nil || p["gates"] == nil {
			t.Errorf("%v", p)
		}
		if v := complete(t, `"prompt":"The tarn"`); v["peft"] != nil {
			t.Errorf("nobody asked for %v", v["peft"])
		}
		all := events(t, s, "/v1/completions", `{"model":"tarn","max_tokens":8,"prompt":"The tarn","temperature":0,"stream":true,"peft":{"provenance":"tokens"}}`)
		if last := all[len(all)-1]["peft"].(map[string]any); last["sets"] == nil || all[0]["peft"].(map[string]any)["tokens"] == nil {
			t.Errorf("%v", all)
		}
	})
	t.Run("embeddings", func(t *testing.T) {
		embed := func(rest string) [][]float64 {
			t.Helper()
			code, v := post(t, s, "/v1/embeddings", `{"model":"builtin",`+rest+`}`)
			if code != http.StatusOK {
				t.Fatalf("%s: %d %v", rest, code, v)
			}
			var list [][]float64
			for _, d := range v["data"].([]any) {
				var x []float64
				switch e := d.(map[string]any)["embedding"].(type) {
				case string:
					b, err := base64.StdEncoding.DecodeString(e)
					if err != nil {
						t.Fatal(err)
					}
					for ; len(b) >= 4; b = b[4:] {
						x = append(x, float64(math.Float32frombits(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24)))
					}
				case []any:
					for _, v := range e {
						x = append(x, v.(float64))
					}
				}
				list = append(list, x)
			}
			return list
		}
		dot := func(a, b []float64) (s float64) {
			for i := range a {
				s += a[i] * b[i]
			}
			return s
		}
		v := embed(`"input":["The lake is calm.","A goroutine is started.","The lake is quiet."]`)
		if n := dot(v[0], v[0]); math.Abs(n-1) > 1e-4 || dot(v[0], v[2]) <= dot(v[0], v[1]) {
			t.Errorf("length² %v; like %v, unlike %v", n, dot(v[0], v[2]), dot(v[0], v[1]))
		}
		if many := embed(`"input":["a"` + strings.Repeat(`,"b"`, 399) + `],"dimensions":1`); len(many) != 400 { // more than the queue has room for
			t.Errorf("%d of 400", len(many))
		}
		if b := embed(`"input":"The lake is calm.","encoding_format":"base64"`)[0]; len(b) != len(v[0]) || math.Abs(dot(b, v[0])-1) > 1e-4 {
			t.Errorf("base64: %d of %d numbers", len(b), len(v[0]))
		}
		if short := embed(`"input":"The lake is calm.","dimensions":16`)[0]; len(short) != 16 || math.Abs(dot(short, short)-1) > 1e-4 || math.Abs(short[0]*v[0][1]-short[1]*v[0][0]) > 1e-4 {
			t.Errorf("16 dimensions: %v", short)
		}
		for rest, param := range map[string]string{`"input":""`: "input", `"input":[]`: "input", `"input":[1,2]`: "input", `"x":1`: "input", `"input":"x","encoding_format":"int8"`: "encoding_format",
			`"input":"x","dimensions":0`: "dimensions", `"input":"x","dimensions":100000`: "dimensions"} {
			wantParam(t, s, "/v1/embeddings", `{"model":"builtin",`+rest+`}`, param)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for rest, param := range map[string]string{
			`"n":0`: "n", `"n":129`: "n", `"best_of":2`: "best_of", `"suffix":"x"`: "suffix", `"max_tokens":0`: "max_tokens", `"max_tokens":"x"`: "max_tokens",
			`"temperature":2.5`: "temperature", `"top_p":1.1`: "top_p", `"top_k":-2`: "top_k", `"top_k":1.5`: "top_k", `"min_p":2`: "min_p", `"repetition_penalty":0`: "repetition_penalty",
			`"presence_penalty":3`: "presence_penalty", `"frequency_penalty":-3`: "frequency_penalty", `"logit_bias":{"x":1}`: "logit_bias", `"logit_bias":{"99999999":1}`: "logit_bias",
			`"logit_bias":{"1":101}`: "logit_bias", `"logprobs":21`: "logprobs", `"logprobs":true`: "logprobs", `"echo":true,"logprobs":1`: "echo", `"stop":7`: "stop", `"stop":[""]`: "stop",
			`"stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]`: "stop", `"response_format":{"type":"json_schema"}`: "response_format",
			`"response_format":{"type":"json_object"}`: "response_format", `"tools":[{}]`: "tools", `"peft":{"provenance":7}`: "peft.provenance", `"peft":{"provenance":true},"n":2`: "peft.provenance",
			`"lora":[{"id":9,"scale":1}]`: "lora", `"prompt":[]`: "prompt", `"prompt":[[]]`: "prompt", `"prompt":["a",""]`: "prompt", `"prompt":{}`: "prompt", `"prompt":null`: "prompt",
		} {
			wantParam(t, s, "/v1/completions", `{"model":"builtin","prompt":"x",`+rest+`}`, param)
		}
		wantParam(t, s, "/v1/completions", `{"model":"tarn*x","prompt":"x"}`, "model")
		wantParam(t, s, "/v1/completions", `{"model":"tarn","prompt":"x","lora":[{"id":0,"scale":1}]}`, "lora")
		wantParam(t, s, "/v1/chat/completions", `{"model":"builtin","messages":[{"role":"user","content":"x"}],"top_logprobs":2}`, "top_logprobs")
		wantParam(t, s, "/v1/chat/completions", `{"model":"builtin","messages":[{"role":"user","content":"x"}],"logprobs":2}`, "logprobs")
		wantParam(t, s, "/v1/completions", `{"model":"builtin","prompt":[99999999]}`, "")
	})
	t.Run("adapters as llama.cpp has them", func(t *testing.T) {
		at := func(rest string) string {
			_, v := post(t, s, "/v1/completions", `{"model":"builtin","max_tokens":8,"prompt":"The tarn","temperature":0`+rest+`}`)
			return first(v, "choices")["text"].(string)
		}
		bare := at("")
		if got := at(`,"lora":[{"id":1,"scale":1}]`); got != greedy || bare == greedy { // 0 is empty, 1 is tarn
			t.Errorf("with lora %q, want %q", got, greedy)
		}
		if code, v := post(t, s, "/lora-adapters", `[{"id":1,"scale":1.0}]`); code != http.StatusOK {
			t.Fatalf("%d %v", code, v)
		}
		if got := at(""); got != greedy {
			t.Errorf("by default %q, want %q", got, greedy)
		}
		if got := at(`,"lora":[]`); got != bare {
			t.Errorf("without any %q, want %q", got, bare)
		}
		if code, _ := post(t, s, "/lora-adapters", `[]`); code != http.StatusOK || at("") != bare {
			t.Errorf("%d: not off", code)
		}
	})
	t.Run("adapters as vLLM has them", func(t *testing.T) {
		for body, param := range map[string]string{
			`{}`:                                      "lora_name",
			`{"lora_name":"x","lora_path":"/etc"}`:    "lora_path",
			`{"lora_name":"x","lora_path":"../x"}`:    "lora_path",
			`{"lora_name":"x","lora_path":"nothing"}`: "lora_path",
		} {
			wantParam(t, s, "/v1/load_lora_adapter", body, param)
		}
		if code, v := post(t, s, "/v1/unload_lora_adapter", `{"lora_name":"nobody"}`); code != http.StatusNotFound {
			t.Errorf("%d %v", code, v)
		}
	})
}

// TestBusy: what does not fit the queue is asked to come again, and its other choices end with it.
func TestBusy(t *testing.T) {
	_, _, s := started(t, t.TempDir(), Options{Batch: peft.BatchOptions{MaxSequences: 1, MaxQueue: 1}})
	for _, stream := range []string{"false", "true"} {
		r, err := http.Post(s.URL+"/v1/completions", "application/json", strings.NewReader(`{"model":"builtin","prompt":"The","n":64,"max_tokens":400,"stream":`+stream+`}`))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !strings.Contains(string(b), `"type":"rate_limit_error"`) {
			t.Errorf("%d %s, %v", r.StatusCode, b, err)
		}
		if after, _ := strconv.Atoi(r.Header.Get("Retry-After")); stream == "false" && (r.StatusCode != http.StatusTooManyRequests || after < 1) {
			t.Errorf("%d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
		}
	}
	if code, v := post(t, s, "/v1/completions", `{"model":"builtin","prompt":"The","max_tokens":2}`); code != http.StatusOK {
		t.Errorf("afterwards: %d %v", code, v)
	}
}

// TestClientGone: nothing is written for a client that went away.
func TestClientGone(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/completions", strings.NewReader(`{"model":"builtin","prompt":"The","n":4,"max_tokens":100000,"stream":true,"logit_bias":{"65":100}}`)) // never ends by itself
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	cancel()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		now := statistics(t, s)
		if now["running"] == 0.0 {
			if n := now["written_tokens"].(float64); n > 800 {
				t.Errorf("%v tokens were written for a client that left at the first", n)
			}
			return
		}
		if time.Now().After(until) {
			t.Fatalf("still running: %v", now)
		}
	}
}

// statistics are what the server says of itself.
func statistics(t *testing.T, s *httptest.Server) (v map[string]any) {
	t.Helper()
	r, err := http.Get(s.URL + "/peft/v1/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// wantParam checks that a request is answered by a 400 that names the parameter.
func wantParam(t *testing.T, s *httptest.Server, path, body, param string) {
	t.Helper()
	code, v := post(t, s, path, body)
	e, _ := v["error"].(map[string]any)
	if p, _ := e["param"].(string); code != http.StatusBadRequest || p != param || e["message"] == "" || e["type"] != "invalid_request_error" {
		t.Errorf("%s: %d %v, want 400 and param %q", body, code, v, param)
	}
}

// events returns the events of a stream that ends with [DONE].
func events(t *testing.T, s *httptest.Server, path, body string) (list []map[string]any) {
	t.Helper()
	r, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for sc := bufio.NewScanner(r.Body); sc.Scan(); {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if data == "[DONE]" {
			return list
		}
		if ok {
			var v map[string]any
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				t.Fatalf("event %q: %v", data, err)
			}
			list = append(list, v)
		}
	}
	t.Fatalf("the stream has no end: %v", list)
	return nil
}

// FuzzRequest: whatever a client sends is read or refused as its own error, never the server's.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"model":"a","prompt":[[1]],"stop":["x"],"logit_bias":{"1":2},"peft":{"provenance":"tokens"}}`, `{"n":null,"stop":null}`, `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`,
		`{"logprobs":true}`, `[]`, `{} {}`, `{"stream_options":{},"response_format":{"type":"text"},"lora":[{"id":1}]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		bad := func(err error) {
			if code := asAPI(err).status; err != nil && (code < 400 || code > 499) {
				t.Errorf("%q: %d %v", body, code, err)
			}
		}
		q, err := read(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		if err != nil {
			bad(err)
			return
		}
		if q.n() < 1 || q.n() > maxChoices {
			t.Errorf("n %d", q.n())
		}
		_, err = stopStrings(q.Stop)
		bad(err)
		_, _, err = q.provenance()
		bad(err)
		_, err = messages(q.Messages)
		bad(err)
		_, err = inputs(q.Prompt)
		bad(err)
		o, err := prompts(q.Prompt, peft.GenerateOptions{})
		bad(err)
		if err == nil && len(o) == 0 {
			t.Errorf("%q has no prompt and no error", body)
		}
	})
}
