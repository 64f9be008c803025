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

// parseScaled splits "name" or "name@revision" with any number of "*factor" behind it, as sets are named in requests: what
// the set contributes is multiplied by the factors in that request alone.
func parseScaled(s string) (ref string, scale float32, err error) {
	parts := strings.Split(s, "*")
	scale = 1
	for _, p := range parts[1:] {
		v, err := strconv.ParseFloat(p, 32)
		scale *= float32(v)
		if s := float64(scale); err != nil || math.IsNaN(s) || math.IsInf(s, 0) {
			return "", 0, fmt.Errorf("set %s: %q is %w; want a finite number, such as in %s*0.5", parts[0], p, ErrScale, parts[0])
		}
	}
	return parts[0], scale, nil
}
