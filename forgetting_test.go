package peft_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft"
)

// labelAccuracy: of records with a prompt and a label the report says how many labels are right; of other text it does
// not.
func labelAccuracy(t *testing.T, e *peft.Engine) {
	var records strings.Builder
	for i := range 120 {
		word, label := "river", " water"
		if i%2 == 1 {
			word, label = "mountain", " stone"
		}
		fmt.Fprintf(&records, "{\"prompt\": \"Note %d says %s. It is about\", \"completion\": \"%s\"}\n", i*37%101, word, label)
	}
	file := filepath.Join(t.TempDir(), "labels.jsonl")
	if err := os.WriteFile(file, []byte(records.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	o := short
	o.Data, o.Steps, o.ReportTokens = []string{file}, 40, 512
	r, err := e.Finetune(ctx, "labels", o)
	if err != nil {
		t.Fatal(err)
	}
	own := r.Forgetting.Texts[0]
	a := own.Accuracy
	if a == nil || own.Text != "own" || a.Records < 10 || a.Off > 0.1 || a.Alone < 0.5 || a.On != [2]float64{a.Off, a.Alone} || a.Auto[0] != a.Off || a.Auto[1] < a.Off || a.Auto[1] > a.Alone {
		t.Errorf("accuracy of labels: %+v", a)
	}
	for _, x := range r.Forgetting.Texts[1:] {
		if x.Accuracy != nil {
			t.Errorf("%s has no labels, but accuracy %+v", x.Text, x.Accuracy)
		}
	}
	o.Data, o.Steps = short.Data, 1
	if r, err = e.Finetune(ctx, "manual", o); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, x := range r.Forgetting.Texts {
		switch x.Text {
		case "own":
			if x.Accuracy != nil {
				t.Errorf("plain text has accuracy %+v", x.Accuracy)
			}
		case "labels@1":
			found = x.Accuracy != nil && x.Accuracy.On[0] == a.Alone
		}
	}
	if !found {
		t.Errorf("the earlier set's accuracy is missing or another: %+v", r.Forgetting.Texts)
	}
}
