package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/bench/record"
)

// fake is a server that writes so many tokens, one every few milliseconds, and then says how many there were.
func fake(t *testing.T, every time.Duration, short int) *server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			MaxTokens int                `json:"max_tokens"`
			Bias      map[string]float64 `json:"logit_bias"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Bias["2"] != -100 {
			http.Error(w, fmt.Sprint("bad request: ", err, q), http.StatusBadRequest)
			return
		}
		for range q.MaxTokens - short {
			time.Sleep(every)
			fmt.Fprintf(w, "data: {\"choices\":[{\"text\":\"a\"}]}\n\n")
			w.(http.Flusher).Flush()
		}
		fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", q.MaxTokens-short)
	}))
	t.Cleanup(s.Close)
	return &server{url: s.URL, never: map[string]float64{"2": -100}}
}

func TestTurns(t *testing.T) {
	b := &bench{rounds: 3, tokens: 10}
	slow, fast := fake(t, 8*time.Millisecond, 0), fake(t, 2*time.Millisecond, 0)
	r := result{Base: "none"}
	if err := b.turns(context.Background(), &r, counts, []load{{"llama.cpp", slow, []string{"m"}}, {"peft", fast, []string{"m"}}}); err != nil {
		t.Fatal(err)
	}
	for _, n := range counts {
		a, b := r.find("llama.cpp", n).Values[tokensASecond], r.find("peft", n).Values[tokensASecond]
		if len(a) != 3 || len(b) != 3 || median(a) > float64(n)*125 || median(ratios(b, a)) < 1.5 {
			t.Errorf("%d streams: %v and %v tokens/s", n, a, b)
		}
	}
	dir := t.TempDir()
	u, err := record.Open[result](filepath.Join(dir, "work.json"))
	if err != nil {
		t.Fatal(err)
	}
	r.Peer, r.Flags = "llama.cpp 7", "-np 9 -cb"
	u.Done["llama"] = r
	few := result{Base: "none", Sets: 3, Added: 77}
	for _, of := range []string{"a set, of few", "a set, of many", "auto, of few", "auto, of many"} {
		for _, n := range []int{1, 16} {
			o := row{Name: of, Streams: n}
			o.add(tokensASecond, 10)
			o.add("first token, s", 0.1)
			few.Rows = append(few.Rows, o)
		}
	}
	u.Done["sets"] = few
	if err := report(u, dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "serving.md"))
	for _, want := range []string{fmt.Sprintf("| peft | 16 | %.0f |", median(r.find("llama.cpp", 16).Values[tokensASecond])), "llama-server of llama.cpp 7,", "`-np 9 -cb`",
		"### 77 sets more", "a registry of 3 sets, one on a copy of it with 77 more"} {
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("no %q in %s, %v", want, page, err)
		}
	}
	if _, err := together(context.Background(), fake(t, 0, 1), questions(1, 2, 10, "m")); err == nil || !strings.Contains(err.Error(), "answered 9 tokens, want 10") {
		t.Errorf("a server that stops early: %v", err)
	}
}

func TestGaps(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	a := &answer{asked: at(0), parts: []time.Time{at(10), at(20), at(80), at(90), at(500)}, tokens: 5}
	if a.first() != 0.01 || a.gap(at(0), at(85)) != 0.06 || a.gap(at(25), at(90)) != 0.06 || a.gap(at(0), at(1000)) != 0.41 || a.during(at(15), at(95)) != 3/0.08 {
		t.Error(a.first(), a.gap(at(0), at(85)), a.gap(at(25), at(90)), a.gap(at(0), at(1000)), a.during(at(15), at(95)))
	}
	if r := rate([]*answer{a, {asked: at(100), parts: []time.Time{at(1000)}, tokens: 5}}); r != 10 {
		t.Errorf("%v tokens/s", r)
	}
}
