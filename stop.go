package peft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gopeft/peft/base/llama"
)

// errStop ends a generation at a stop string.
var errStop = errors.New("stop string")

// cutter passes text on up to the first stop string; it holds back what may become one.
type cutter struct {
	stops []string
	text  strings.Builder // passed on
	held  string
}

func newCutter(stops []string) (*cutter, error) {
	if slices.Contains(stops, "") {
		return nil, fmt.Errorf("generate: a stop string is empty: %w", llama.ErrInput)
	}
	return &cutter{stops: stops}, nil
}

// add takes the next piece and returns what can be passed on, and whether the text has come to a stop string.
func (c *cutter) add(s string) (text string, stopped bool) {
	c.held += s
	first := -1
	for _, stop := range c.stops {
		if i := strings.Index(c.held, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		text = c.pass(first)
		c.held = ""
		return text, true
	}
	keep := 0
	for _, stop := range c.stops {
		for n := min(len(stop)-1, len(c.held)); n > keep; n-- {
			if strings.HasSuffix(c.held, stop[:n]) {
				keep = n
				break
			}
		}
	}
	return c.pass(len(c.held) - keep), false
}

// flush returns what was held back at the end of the text.
func (c *cutter) flush() string { return c.pass(len(c.held)) }

func (c *cutter) pass(n int) string {
	s := c.held[:n]
	c.held = c.held[n:]
	c.text.WriteString(s)
	return s
}
