package llama

import "fmt"

// Family is a line of models that compute alike.
type Family string

// The families. Mistral is Llama with a sliding window.
const (
	Llama  Family = ""       // arXiv 2302.13971, 2407.21783; Mistral: arXiv 2310.06825
	Qwen2  Family = "qwen2"  // arXiv 2407.10671
	Qwen3  Family = "qwen3"  // arXiv 2505.09388
	Gemma2 Family = "gemma2" // arXiv 2408.00118
	GPT2   Family = "gpt2"   // Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"
)

// known lists the architectures for messages.
const known = "gemma2, gpt2, llama, mistral, qwen2, qwen3"

// traits are what a family's models have in common and others have not.
type traits struct {
	qkvBias   bool // queries, keys and values have biases
	bias      bool // all linear layers have
	headNorms bool // every query and key head is normalised before it is rotated
	postNorms bool // what attention and the feed-forward layer add to the stream is normalised too
	layerNorm bool // norms are LayerNorm with bias, not RMSNorm
	learned   bool // positions are embeddings, not rotations
	plain     bool // the feed-forward layer has no gate
	gelu      bool // it activates by GELU (by tanh), not by SiLU
	scaled    bool // embeddings are multiplied by √hidden
	paired    bool // llama.cpp's files have rows of queries and keys in another order (Permute)
	tied      bool // where config.json does not say, the head is the embedding
	headDim   int  // where config.json does not say; 0 for hidden/heads
}

var families = map[Family]traits{
	Llama:  {paired: true},
	Qwen2:  {qkvBias: true},
	Qwen3:  {headNorms: true, headDim: 128},
	Gemma2: {postNorms: true, gelu: true, scaled: true, tied: true, headDim: 256},
	GPT2:   {bias: true, layerNorm: true, learned: true, plain: true, gelu: true, tied: true},
}

func (c *Config) traits() traits { return families[c.Family] }

// String returns the family's name in messages.
func (f Family) String() string {
	if f == Llama {
		return "llama"
	}
	return string(f)
}

// UpWidth is the width of a row of the feed-forward layer before its activation: gate and up, or up alone.
func (c *Config) UpWidth() int {
	if c.traits().plain {
		return c.FFN
	}
	return 2 * c.FFN
}

// HeadsWidth is the width of a row of what Rotate keeps for its backward; 0 where it keeps nothing.
func (c *Config) HeadsWidth() int {
	if c.traits().headNorms {
		return (c.Heads + c.KVHeads) * (c.HeadDim + 1)
	}
	return 0
}

// PairedHeads returns how many heads a layer has whose rows stand in llama.cpp's order in its files (Permute); 0 for layers
// whose rows stand in Hugging Face's.
func (c *Config) PairedHeads(s Site) int {
	switch {
	case !c.traits().paired:
	case s == Query:
		return c.Heads
	case s == Key:
		return c.KVHeads
	}
	return 0
}

// PostNorms reports whether norms follow attention and the feed-forward layer: AttnPost and FFNPost then add to the stream,
// not AttnOut and Down.
func (c *Config) PostNorms() bool { return c.traits().postNorms }

// LinearSites are the linear layers of the model's blocks, in the order in which a token passes them.
func (c *Config) LinearSites() []Site {
	if c.traits().plain {
		return []Site{Query, Key, Value, Out, Up, Down}
	}
	return LinearSites()
}

var gatedSites, plainSites = []Site{Gate, Up}, []Site{Up}

// UpSites are the layers whose outputs stand in a row of UpWidth.
func (c *Config) UpSites() []Site {
	if c.traits().plain {
		return plainSites
	}
	return gatedSites
}

func unknown(what, name string) error {
	return fmt.Errorf("%s %q is not among those known (%s): %w", what, name, known, ErrUnsupported)
}
