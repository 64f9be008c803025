package exchange

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2"
)

// regex is a regular expression as Python has it: by Go's own engine or, for what that cannot do, such as looking ahead, by
// one that backtracks.
type regex struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp
}

// patience bounds a match by backtracking, which can take exponential time.
const patience = 100 * time.Millisecond

func compile(expr string) (*regex, error) {
	if re, err := regexp.Compile(expr); err == nil {
		return &regex{linear: re}, nil
	}
	re, err := regexp2.Compile(expr, regexp2.RE2)
	if err != nil {
		return nil, fmt.Errorf("regular expression %.80q: %w: %w", expr, ErrUnsupported, err)
	}
	re.MatchTimeout = patience
	return &regex{back: re}, nil
}

// match returns the groups of the leftmost match in a text, nil where there is none.
func (r *regex) match(text string) ([]string, error) {
	if r.linear != nil {
		return r.linear.FindStringSubmatch(text), nil
	}
	m, err := r.back.FindStringMatch(text)
	if err != nil {
		return nil, fmt.Errorf("regular expression %.80q: %w: %w", r.back.String(), ErrUnsupported, err)
	}
	if m == nil {
		return nil, nil
	}
	var groups []string
	for _, g := range m.Groups() {
		groups = append(groups, g.String())
	}
	return groups, nil
}
