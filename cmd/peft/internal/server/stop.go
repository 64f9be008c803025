package server

import (
	"errors"
	"strings"
)

// errStop ends a generation at a stop string.
var errStop = errors.New("stop string")

// cutter passes text on up to the first stop string; it holds back what may become one.
type cutter struct {
	stops  []string
	emit   func(string) error
	text   strings.Builder // passed on
	held   string
	pieces int
	prompt int
}

func (c *cutter) add(s string) error {
	c.pieces++
	c.held += s
	first := -1
	for _, stop := range c.stops {
		if i := strings.Index(c.held, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		c.held = c.held[:first]
		return errors.Join(c.flush(), errStop)
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
	return c.pass(len(c.held) - keep)
}

func (c *cutter) flush() error { return c.pass(len(c.held)) }

func (c *cutter) pass(n int) error {
	s := c.held[:n]
	c.held = c.held[n:]
	if s == "" {
		return nil
	}
	c.text.WriteString(s)
	if c.emit == nil {
		return nil
	}
	return c.emit(s)
}
