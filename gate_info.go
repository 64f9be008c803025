package peft

import (
	"math"
	"slices"
)

// GateInfo says how a revision's gate was set and what it reaches. It stays as it is for the life of the revision.
type GateInfo struct {
	Blocks     []int       `json:"blocks"`     // whose cells it looks at
	Thresholds []Threshold `json:"thresholds"` // by tokens judged, ascending
	Alpha      float64     `json:"alpha"`      // share of others' sequences that was to fire at most
	Margin     float64     `json:"margin"`     // how far above the others' quantile, as a share of the way to the own sequences
	Negatives  []Negatives `json:"negatives"`  // that the thresholds were set on
	OwnSetOn   int         `json:"own_sequences"`
	Own        FireRate    `json:"own"`    // on own held-out text that set nothing
	Others     []FireRate  `json:"others"` // on other text that set nothing
	Older      []FireRate  `json:"older"`  // how often the gates of older sets fire on this set's held-out text
}

// Threshold is what a prompt of so many judged tokens must score more than, how unlike the own text it may be, and by how much the
// set must make it likelier.
type Threshold struct {
	Tokens   int     `json:"tokens"`
	Score    float64 `json:"score"`              // nats for an average selection
	Distance float64 `json:"distance,omitempty"` // see peer.Gate.Distance; 0 for any
	Gain     float64 `json:"gain,omitempty"`     // nats by which all that is judged is likelier with the set on, at least; 0 for any
}

// Negatives are sequences of one kind of other text, by which a threshold was set.
type Negatives struct {
	Text      string  `json:"text"`
	Sequences int     `json:"sequences"`
	Aside     int     `json:"aside,omitempty"` // left out, because they look like the set's own text
	Quantile  float64 `json:"quantile"`        // of their scores at gateTokens
	Exact     bool    `json:"exact"`           // there were enough of them for alpha
}

// FireRate is how often a gate fired on sequences of a text, or of a set's gate on this text.
type FireRate struct {
	Text      string `json:"text"`
	Sequences int    `json:"sequences"`
	Fired     int    `json:"fired"`
}

// Rate returns the share that fired; 0 of none.
func (f FireRate) Rate() float64 {
	if f.Sequences == 0 {
		return 0
	}
	return float64(f.Fired) / float64(f.Sequences)
}

// verdict is what a gate says of a prompt.
type verdict struct {
	after    [len(gateLengths)]float64 // its score after each of gateLengths, of which the first token is not judged, or after all of it
	rows     int                       // that are judged
	score    float64                   // after all of them
	distance float64                   // likewise
	gain     float64                   // nats by which the set makes all of them likelier, where that was asked
	vain     [len(gateLengths)]bool    // whether after each of gateLengths it is found to make them too little likelier
}

// passes reports whether a prompt's score and distance pass the gate's threshold.
func (i *GateInfo) passes(v verdict) bool {
	t := i.threshold(v.rows)
	return v.score > t.Score && !t.excludes(v.distance)
}

// fires reports whether a prompt passes it, and the set makes it likelier.
func (i *GateInfo) fires(v verdict) bool { return i.passes(v) && i.threshold(v.rows).confirms(v.gain) }

// threshold returns what holds for so many judged rows: none can pass it where they are too few.
func (i *GateInfo) threshold(rows int) Threshold {
	at := Threshold{Score: math.Inf(1)}
	for _, t := range i.Thresholds {
		if rows >= t.Tokens {
			at = t
		}
	}
	return at
}

// knows reports whether the gate was set against the text of that revision of a set, name@revision.
func (i *GateInfo) knows(ref string) bool {
	return slices.ContainsFunc(i.Negatives, func(n Negatives) bool { return n.Text == ref })
}

// excludes reports whether a text is too unlike the own text.
func (t Threshold) excludes(distance float64) bool { return t.Distance > 0 && distance > t.Distance }

// confirms reports whether a set that makes a text likelier by so much is to be on.
func (t Threshold) confirms(gain float64) bool { return t.Gain == 0 || gain >= t.Gain }
