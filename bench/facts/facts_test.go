package main

import (
	"testing"

	"github.com/gopeft/peft/bench/internal/study"
)

// TestFacts wants every fact's test in words that are not learned, its answer in every wording, and no subject in both files.
func TestFacts(t *testing.T) {
	b := &bench{Study: &study.Study{Work: t.TempDir()}}
	seen := map[string]bool{}
	for name, want := range map[string]int{"report": 100, "tune": 40} {
		f, err := b.read(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.all) != want {
			t.Errorf("%s has %d facts, want %d", name, len(f.all), want)
		}
		for _, x := range f.all {
			if seen[x.Statement] || seen[x.Test.Question] {
				t.Errorf("%q is there twice", x.Statement)
			}
			seen[x.Statement], seen[x.Test.Question] = true, true
			if len(x.Questions) != 2 || !x.Test.right(x.Statement) {
				t.Errorf("%q: %d questions, answer %q", x.Statement, len(x.Questions), x.Test.Answer)
			}
			for _, q := range x.Questions {
				if seen[q.Question] || !x.Test.right(q.Answer) || x.Test.right(x.Test.Question) {
					t.Errorf("%q: learned as %q, answer %q", x.Test.Question, q.Question, q.Answer)
				}
			}
		}
	}
}

func TestRight(t *testing.T) {
	q := question{Answer: "Port Hallam"}
	if !q.right(" it is port Hallam.") || q.right("Hallam") {
		t.Error("an answer counts when it contains the right words, in whatever case")
	}
}
