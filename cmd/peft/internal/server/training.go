package server

import "github.com/gopeft/peft"

// adapterOptions say what the experts of a new set are: see peft.Adapter.
type adapterOptions struct {
	Kind       string   `json:"kind,omitempty"`
	Rank       int      `json:"rank,omitempty"`
	Alpha      float64  `json:"alpha,omitempty"`
	RSLoRA     bool     `json:"rslora,omitempty"`
	DoRA       bool     `json:"dora,omitempty"`
	Activation string   `json:"activation,omitempty"`
	Targets    []string `json:"targets,omitempty"`
	Routed     bool     `json:"routed,omitempty"`
	Experts    int      `json:"experts,omitempty"`
	Occupancy  string   `json:"occupancy,omitempty"`
	Spread     int      `json:"spread,omitempty"`
	Seed       uint64   `json:"seed,omitempty"`
}

func (o adapterOptions) adapter() peft.Adapter {
	return peft.Adapter{Kind: o.Kind, Rank: o.Rank, Alpha: o.Alpha, RSLoRA: o.RSLoRA, DoRA: o.DoRA, Activation: o.Activation, Targets: o.Targets, Routed: o.Routed}
}

func (o adapterOptions) placing() peft.Placing {
	return peft.Placing{Occupancy: o.Occupancy, Spread: o.Spread}
}

// trainingOptions are those of a job: see peft.FinetuneOptions. Files are uploaded ones.
type trainingOptions struct {
	adapterOptions
	EvalData         []string `json:"eval_data,omitempty"`
	Steps            int      `json:"steps,omitempty"`
	SeqLen           int      `json:"seq_len,omitempty"`
	BatchTokens      int      `json:"batch_tokens,omitempty"`
	LearningRate     float64  `json:"learning_rate,omitempty"`
	WarmUp           int      `json:"warmup,omitempty"`
	Decay            string   `json:"decay,omitempty"`
	Floor            float64  `json:"floor,omitempty"`
	LearningRatio    float64  `json:"lr_ratio,omitempty"`
	Beta1            float64  `json:"beta1,omitempty"`
	Beta2            float64  `json:"beta2,omitempty"`
	WeightDecay      float64  `json:"weight_decay,omitempty"`
	Clip             float64  `json:"clip,omitempty"`
	InOrder          bool     `json:"in_order,omitempty"`
	Resume           bool     `json:"resume,omitempty"`
	With             []string `json:"with,omitempty"`
	Alternate        bool     `json:"alternate,omitempty"`
	QuietData        []string `json:"quiet_data,omitempty"`
	QuietPassages    bool     `json:"quiet_passages,omitempty"`
	Quiet            float64  `json:"quiet,omitempty"`
	Precision        string   `json:"precision,omitempty"`
	TrainAll         bool     `json:"train_all,omitempty"`
	EvalEvery        int      `json:"eval_every,omitempty"`
	Patience         int      `json:"patience,omitempty"`
	CheckpointEvery  int      `json:"checkpoint_every,omitempty"`
	ReportTokens     int      `json:"report_tokens,omitempty"`
	ForbidRegression *float64 `json:"forbid_regression,omitempty"`
	OnlyNew          bool     `json:"only_new,omitempty"`
	NoAim            bool     `json:"no_aim,omitempty"`
	Keep             float64  `json:"keep,omitempty"`
}

// finetune returns the options with the files' paths.
func (o trainingOptions) finetune(u *uploads, data []string) (f peft.FinetuneOptions, err error) {
	f = peft.FinetuneOptions{
		Steps: o.Steps, SeqLen: o.SeqLen, BatchTokens: o.BatchTokens, LearningRate: o.LearningRate,
		Optimiser: peft.Optimiser{WarmUp: o.WarmUp, Decay: o.Decay, Floor: o.Floor, Ratio: o.LearningRatio, Beta1: o.Beta1, Beta2: o.Beta2, WeightDecay: o.WeightDecay, Clip: o.Clip, InOrder: o.InOrder},
		Seed:      o.Seed, Resume: o.Resume, With: o.With, Alternate: o.Alternate, Quiet: o.Quiet, QuietPassages: o.QuietPassages, Precision: o.Precision, TrainAll: o.TrainAll,
		EvalEvery: o.EvalEvery, Patience: o.Patience, CheckpointEvery: o.CheckpointEvery, Adapter: o.adapter(), Experts: o.Experts,
		ReportTokens: o.ReportTokens, ForbidRegression: o.ForbidRegression, Placing: o.placing(), OnlyNew: o.OnlyNew, NoAim: o.NoAim, Prune: o.Keep,
	}
	for _, files := range []struct {
		to   *[]string
		from []string
	}{{&f.Data, data}, {&f.EvalData, o.EvalData}, {&f.QuietData, o.QuietData}} {
		if *files.to, err = u.paths(files.from); err != nil {
			return f, err
		}
	}
	return f, nil
}
