package peft

// Share is what a set contributed to an output.
type Share struct {
	Set   string  `json:"set"`   // name@revision
	Share float64 `json:"share"` // of the norms that blocks and sets add to the residual stream
}

// GateScore is what a set's gate found in a prompt. Where it fires, another set may be on in its place: one that gains more, if
// beside it this one makes the prompt too little likelier; one whose gate was set against this one's text, where nothing is asked of
// what this one gains; or one with which it cannot be on.
type GateScore struct {
	Set       string  `json:"set"` // name@revision
	Score     float64 `json:"score"`
	Threshold float64 `json:"threshold"`
	Fired     bool    `json:"fired"`
	Unlike    bool    `json:"unlike,omitempty"`    // the score passes, but the prompt is too unlike all of the set's own text
	Gain      float64 `json:"gain,omitempty"`      // nats by which the set makes the prompt likelier, where score and distance pass and the gate asks
	Vain      bool    `json:"vain,omitempty"`      // that is too little
	YieldsTo  string  `json:"yields_to,omitempty"` // name@revision of the set that is on in its place
}
