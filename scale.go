package peft

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrScale reports a request's strength that is no number.
var ErrScale = errors.New("not a strength")

// parseScaled splits "name", "name@revision", "name*scale" or "name@revision*scale", as sets are named in requests: what
// the set contributes is multiplied by scale, 1 where none is given, in that request alone.
func parseScaled(s string) (ref string, scale float32, err error) {
	ref, text, found := strings.Cut(s, "*")
	if !found {
		return ref, 1, nil
	}
	v, err := strconv.ParseFloat(text, 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return "", 0, fmt.Errorf("set %s: %q after the * is %w; want a finite number, such as %s*0.5", s, text, ErrScale, ref)
	}
	return ref, float32(v), nil
}
