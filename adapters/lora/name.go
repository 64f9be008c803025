package lora

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gopeft/peft/adapters"
)

// MaxRank bounds the rank in a name.
const MaxRank = 1 << 16

// options are the part of a name behind the method's.
func (k Kind) options() string {
	s := fmt.Sprintf("-r%d-a%s", k.Rank, strconv.FormatFloat(k.Alpha, 'g', -1, 64))
	if k.Stabilised {
		s += "-rs"
	}
	return s
}

// Check reports a rank or alpha that cannot be.
func (k Kind) Check() error {
	if k.Rank < 1 || k.Rank > MaxRank {
		return fmt.Errorf("lora: rank %d, want 1 to %d", k.Rank, MaxRank)
	}
	if !(k.Alpha > 0) || math.IsInf(k.Scale64(), 0) {
		return fmt.Errorf("lora: alpha %g, want a number above 0", k.Alpha)
	}
	return nil
}

// Scale64 is Scale before it is rounded.
func (k Kind) Scale64() float64 { return float64(k.Scale()) }

// Parse returns the kind of that name, as Name gives it, and whether there is one.
func Parse(name string) (adapters.Kind, bool) {
	method, options, _ := strings.Cut(name, "-")
	var k Kind
	rank, rest, _ := strings.Cut(options, "-")
	alpha, rs := strings.CutSuffix(rest, "-rs")
	var err error
	if k.Rank, err = strconv.Atoi(strings.TrimPrefix(rank, "r")); err != nil {
		return nil, false
	}
	if k.Alpha, err = strconv.ParseFloat(strings.TrimPrefix(alpha, "a"), 64); err != nil {
		return nil, false
	}
	k.Stabilised = rs
	if k.Check() != nil || options != k.options()[1:] {
		return nil, false
	}
	switch method {
	case "lora":
		return k, true
	case "dora":
		return DoRA{k}, true
	}
	return nil, false
}
