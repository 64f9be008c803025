package study

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
)

//go:embed lora.py
var loraProgram string

// lora runs Hugging Face PEFT.
type lora struct{ python string }

// Record is a text in tokens.
type Record struct {
	Tokens  []int32 `json:"tokens"`
	Learned []bool  `json:"learned,omitempty"` // [len(Tokens)]: which tokens are learned or scored; nil for all but the first
}

// LoRA is one call of Hugging Face PEFT: train an adapter, then measure with it on.
type LoRA struct {
	Rank    int      `json:"rank"`
	Modules []string `json:"modules"`           // projections that get an adapter
	From    string   `json:"from,omitempty"`    // directory of an adapter to go on from
	Save    string   `json:"save,omitempty"`    // and to save it to
	Records []Record `json:"records,omitempty"` // to train on; none trains nothing
	Steps   int      `json:"steps"`
	Batch   int      `json:"batch"` // tokens a step
	Rate    float64  `json:"rate"`
	Seed    uint64   `json:"seed"`

	Words     []int32             `json:"words,omitempty"`  // tokens to choose from after each prompt of Choose
	Choose    map[string][]Record `json:"choose,omitempty"` // prompts, by the name of their task
	Answer    []Record            `json:"answer,omitempty"` // prompts to continue greedily
	NewTokens int                 `json:"new_tokens"`       // at most, of each answer
	End       []int32             `json:"end,omitempty"`    // tokens that end an answer
	Score     map[string][]Record `json:"score,omitempty"`  // texts whose perplexity is measured
	Model     string              `json:"model"`            // filled in by Run
	Threads   int                 `json:"threads"`          // likewise
}

// LoRAResult is what a call gave.
type LoRAResult struct {
	Trained
	Chosen     map[string][][]float32 `json:"chosen"`     // logits of Words for each prompt
	Answers    [][]int32              `json:"answers"`    // new tokens
	Perplexity map[string]float64     `json:"perplexity"` // of the texts of Score
	Base       map[string]float64     `json:"base"`       // likewise, with the adapter off
}

// DoesSets tells whether sets are trained and measured.
func (s *Study) DoesSets() bool { return s.only != "lora" }

// DoesLoRA tells whether LoRA is: when a Python was named.
func (s *Study) DoesLoRA() bool { return s.only != "sets" && s.lora.python != "" }

// LoRA runs a call.
func (s *Study) LoRA(ctx context.Context, o LoRA) (*LoRAResult, error) {
	model, err := filepath.Abs(s.Base)
	if err != nil {
		return nil, err
	}
	o.Model, o.Threads = model, cmp.Or(s.threads, runtime.NumCPU())
	job, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.lora.python, "-c", loraProgram)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(job), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s with lora.py: %w", s.lora.python, err)
	}
	res := new(LoRAResult)
	if err := json.Unmarshal(out, res); err != nil {
		return nil, fmt.Errorf("what lora.py printed: %w", err)
	}
	return res, nil
}

// Records reads data files as training does, so that LoRA sees the same tokens; every tenth record is left out, as training
// holds it back, if held is set.
func Records(tok *tokenizer.Tokenizer, files []string, held bool) ([]Record, error) {
	d, err := tune.ReadFiles(tok, files, false)
	if err != nil {
		return nil, err
	}
	var all []Record
	for i, r := range d.Records {
		if !held || i%10 != 9 {
			all = append(all, Record{r.Tokens, r.Trained})
		}
	}
	return all, nil
}
