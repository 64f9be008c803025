package tune

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/base/tokenizer"
)

func testTokenizer(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	const chatML = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
	tok, err := tokenizer.Train(slices.Values([]string{strings.Repeat("the cat sat on the mat. ", 20)}), 270, []string{"<|end|>", "<|assistant|>", "<|user|>"}, chatML)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func learned(tok *tokenizer.Tokenizer, r Record) string {
	var ids []int32
	for i, l := range r.Trained {
		if l {
			ids = append(ids, r.Tokens[i])
		}
	}
	return tok.Decode(ids)
}

func TestReadFiles(t *testing.T) {
	tok := testTokenizer(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for content, want := range map[string]string{
		`{"text":"the cat"}`:                     "he cat<|end|>",
		`{"prompt":"the ","completion":"cat"}`:   "cat<|end|>",
		`{"question":"who?","answer":"the cat"}`: " the cat<|end|>",
		`{"messages":[{"role":"user","content":"who?"},{"role":"assistant","content":"the cat"},{"role":"user","content":"sat?"},{"role":"assistant","content":"on"}]}`: "the cat<|end|>on<|end|>",
	} {
		d, err := ReadFiles(tok, []string{file("a.jsonl", content+"\n\n")}, false)
		if err != nil {
			t.Fatal(err)
		}
		got := learned(tok, d.Records[0])
		if !strings.HasSuffix(want, got) || len(got) < len(want)-3 {
			t.Errorf("%s: learns %q, want %q", content, got, want)
		}
	}
	for content, want := range map[string]string{
		"":                                  "empty",
		"{\"text\":\"a\"}\n{\"text\":":      "line 2",
		"{\"text\":\"the cat\"}\n{\"x\":1}": "line 2",
		`{"messages":[{"role":"robot","content":"x"}]}`: "robot",
		`{"messages":[{"role":"user","content":"x"}]}`:  "no token to learn",
		"a\x00b":   "binary",
		"\xff\xfe": "UTF-8",
	} {
		if _, err := ReadFiles(tok, []string{file("bad.jsonl", content)}, false); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// TestPacking: every token of every sequence comes exactly once an epoch, in batches that are not too large.
func TestPacking(t *testing.T) {
	f := newFixture(t)
	seqs := f.sequences(17)
	fd := &feed{seqs: seqs, size: 25, seed: 4}
	rows := 0
	for _, s := range seqs {
		rows += len(s.Tokens)
	}
	for range 3 {
		got := 0
		for {
			b := fd.next()
			got += len(b.Tokens)
			var w float64
			for _, v := range b.Weights {
				w += float64(v)
			}
			if len(b.Tokens) > 25 || math.Abs(w-1) > 1e-5 {
				t.Fatalf("a batch of %d tokens with weights of %v", len(b.Tokens), w)
			}
			if len(fd.left) == 0 {
				break
			}
		}
		if got != rows {
			t.Errorf("%d rows in an epoch, want %d", got, rows)
		}
	}
}

// TestSplit: a tenth is held back, the same whatever comes behind; long texts are cut, other long records shortened.
func TestSplit(t *testing.T) {
	record := func(n, learnedFrom int) Record {
		r := whole(ids(uint64(n), n, 50))
		clear(r.Trained[:learnedFrom])
		return r
	}
	short := &Data{Dropped: map[string]int{}}
	for i := range 25 {
		short.Records = append(short.Records, record(10+i, 3))
	}
	train, held, err := short.Split(64)
	if err != nil || len(train) != 23 || len(held) != 2 || len(held[0].Tokens) != 18 || len(held[1].Tokens) != 28 {
		t.Errorf("%d and %d sequences, %v", len(train), len(held), err)
	}
	few := &Data{Records: short.Records[:3]}
	if train, held, err = few.Split(64); err != nil || len(train) != 2 || len(held) != 1 || len(held[0].Tokens) != 11 {
		t.Errorf("of three records: %d and %d sequences, %v", len(train), len(held), err)
	}
	long := &Data{Dropped: map[string]int{}, Records: []Record{record(40, 5), record(40, 30), record(40, 1), record(20, 1)}}
	long.Records[2].Text = true
	if train, _, err = long.Split(16); err != nil || len(train) != 4 || fmt.Sprint(long.Dropped) != "map[(cut to 16 tokens):2 nothing to learn in the first 16 tokens:1]" {
		t.Errorf("of long records: %d sequences, dropped %v, %v", len(train), long.Dropped, err)
	}
	targets := 0
	for _, s := range train[1:] {
		targets += s.learned()
	}
	if targets != 39 {
		t.Errorf("a text of 40 tokens has %d targets", targets)
	}
	text := &Data{Docs: []Record{whole(ids(1, 100, 50))}}
	if train, held, err = text.Split(32); err != nil || len(train) != 3 || len(held) != 1 || len(held[0].Tokens) != 9 {
		t.Errorf("of a text: %d and %d sequences, %v", len(train), len(held), err)
	}
	if _, _, err = (&Data{Records: short.Records[:1]}).Split(64); !errors.Is(err, ErrData) {
		t.Errorf("of one record: %v", err)
	}
}

// FuzzReadFiles: whatever a file holds, reading it gives records that fit together or an error.
func FuzzReadFiles(f *testing.F) {
	tok := testTokenizer(f)
	for _, s := range []string{`{"text":"the cat"}`, `{"prompt":"the ","completion":"cat"}`, `{"question":"who?","answer":"cat"}`, `{"messages":[{"role":"user","content":"the"},{"role":"assistant","content":"cat"}]}`, "{}\n\n[1]", "\ufeff{\"text\":\"\"}", `{"text":null,"answer":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, name := range []string{"a.jsonl", "a.txt"} {
			p := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(p, content, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := ReadFiles(tok, []string{p}, false)
			if err != nil {
				if !errors.Is(err, ErrData) {
					t.Errorf("%v", err)
				}
				continue
			}
			for _, s := range d.Sequences(8) {
				if len(s.Tokens) < 1 || len(s.Tokens) > 8 || len(s.Targets) != len(s.Tokens) || len(s.Learned) != len(s.Tokens) {
					t.Errorf("a sequence of %d tokens, %d targets, %d masks", len(s.Tokens), len(s.Targets), len(s.Learned))
				}
			}
		}
	})
}

// TestBatches wants the batches that Run takes, whoever else asks for them.
func TestBatches(t *testing.T) {
	var seqs []Sequence
	for i := range int32(7) {
		seqs = append(seqs, Cut([]int32{i, i + 1, i + 2, i + 3}, 8)...)
	}
	f := &feed{seqs: seqs, size: 7, seed: 3}
	for i, group := range Batches(seqs, 7, 3, 9) { // more than one epoch
		want := f.next()
		if got := newBatch(group); !slices.Equal(got.Tokens, want.Tokens) || !slices.Equal(got.Targets, want.Targets) {
			t.Errorf("step %d: tokens %v, a run takes %v", i, got.Tokens, want.Tokens)
		}
	}
}

// TestAskedIn: a question comes back from its prompt, and other text stays as it is.
func TestAskedIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := strings.TrimSpace(rapid.String().Draw(t, "question"))
		if got := AskedIn(QuestionPrompt(q)); got != q {
			t.Fatalf("%q comes back as %q", q, got)
		}
	})
	for _, other := range []string{"", "Question: why?", "Why?\nAnswer:", "Answer me"} {
		if got := AskedIn(other); got != other {
			t.Errorf("%q becomes %q", other, got)
		}
	}
}
