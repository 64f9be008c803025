package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// config is what is read of an adapter_config.json (the classes LoraConfig and IA3Config of PEFT 0.21).
type config struct {
	Type         string     `json:"peft_type"`
	Base         string     `json:"base_model_name_or_path"`
	Target       names      `json:"target_modules"`
	Exclude      names      `json:"exclude_modules"`
	FeedForward  *names     `json:"feedforward_modules"`
	Rank         float64    `json:"r"`
	Alpha        float64    `json:"lora_alpha"`
	RankPattern  patterns   `json:"rank_pattern"`
	AlphaPattern patterns   `json:"alpha_pattern"`
	RSLoRA       bool       `json:"use_rslora"`
	DoRA         bool       `json:"use_dora"`
	Blocks       blocks     `json:"layers_to_transform"`
	BlockLists   layerLists `json:"layers_pattern"`
}

// without lists options that do not change what a trained adapter computes, whatever their value. fan_in_fan_out is among
// them because PEFT ignores it at layers that are no Conv1D, and settings of initialisations because init_lora_weights
// tells whether they count.
var without = strings.Fields(`peft_version task_type revision inference_mode auto_mapping lora_dropout fan_in_fan_out
	init_ia3_weights megatron_core loftq_config eva_config corda_config lora_ga_config qalora_group_size runtime_config
	ensure_weight_tying`)

// initialisations leave the base as it is; the others (PiSSA, OLoRA, CorDA, LoftQ, …) subtract from its weights.
var initialisations = []string{"true", "false", "null", `"gaussian"`, `"eva"`, `"orthogonal"`}

// blocks is a block's number or a list of them.
type blocks []int

func (b *blocks) UnmarshalJSON(j []byte) error {
	var one int
	if !bytes.Equal(j, []byte("null")) && json.Unmarshal(j, &one) == nil {
		*b = blocks{one}
		return nil
	}
	return json.Unmarshal(j, (*[]int)(b))
}

// parseConfig reads an adapter_config.json. Options that change what is computed and that this package does not know are
// refused, all of them in one error.
func parseConfig(b []byte) (*config, error) {
	c := &config{Rank: 8, Alpha: 8} // PEFT's defaults
	var options map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(b, &options), json.Unmarshal(b, c)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	if c.Type != "LORA" && c.Type != "IA3" {
		return nil, fmt.Errorf("peft_type is %q, known are LORA and IA3: %w", c.Type, ErrUnsupported)
	}
	var refused []string
	for key, v := range options {
		if !c.harmless(key, v) {
			refused = append(refused, fmt.Sprintf("%s = %.60s", key, v))
		}
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return nil, fmt.Errorf("options that change the computation and are not known here: %s: %w", strings.Join(refused, ", "), ErrUnsupported)
	}
	if c.Target.empty() {
		return nil, fmt.Errorf("target_modules is empty: PEFT writes the names there when it saves an adapter: %w", ErrMismatch)
	}
	if lists := len(c.BlockLists) > 0; c.Target.whole != "" && (len(c.Blocks) > 0 || lists) || lists && len(c.Blocks) == 0 {
		return nil, fmt.Errorf("layers_to_transform wants target_modules as a list, and layers_pattern wants layers_to_transform: %w", ErrMismatch)
	}
	return c, nil
}

// harmless says whether an option is read, does not matter, or has the value that means it is off.
func (c *config) harmless(key string, v json.RawMessage) bool {
	switch key {
	case "peft_type", "base_model_name_or_path", "target_modules", "exclude_modules":
		return true
	case "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "layers_to_transform", "layers_pattern":
		return c.Type == "LORA" || off(v)
	case "feedforward_modules":
		return c.Type == "IA3" || off(v)
	case "init_lora_weights":
		return slices.Contains(initialisations, string(v))
	case "bias":
		return string(v) == `"none"` || off(v)
	}
	return slices.Contains(without, key) || off(v)
}

func off(v json.RawMessage) bool {
	return slices.Contains([]string{"null", "false", "0", "0.0", `""`, "[]", "{}"}, string(v))
}

// lora returns the rank and the scale of a module's LoRA.
func (c *config) lora(module string) (rank int, scale float32, err error) {
	r, err := c.RankPattern.value(module, c.Rank)
	if err != nil {
		return 0, 0, err
	}
	alpha, err := c.AlphaPattern.value(module, c.Alpha)
	if err != nil {
		return 0, 0, err
	}
	if r != math.Trunc(r) || r < 1 || r > 1<<20 {
		return 0, 0, fmt.Errorf("%s: rank %g, want a whole number above 0: %w", module, r, ErrMismatch)
	}
	by := r
	if c.RSLoRA {
		by = math.Sqrt(r)
	}
	return int(r), float32(alpha / by), nil
}

// feedForward says whether an IA3 scales a module's input, by PEFT's rule: unlike targets, feed-forward modules are told by
// the end of their name without regard to dots.
func (c *config) feedForward(module string) (bool, error) {
	if c.FeedForward == nil {
		return false, fmt.Errorf("feedforward_modules is missing: PEFT writes the names there when it saves an adapter: %w", ErrMismatch)
	}
	if c.FeedForward.re != nil {
		return c.FeedForward.match(module)
	}
	return slices.ContainsFunc(c.FeedForward.list, func(s string) bool { return strings.HasSuffix(module, s) }), nil
}
