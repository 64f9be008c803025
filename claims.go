package peft

import (
	"errors"
	"fmt"
	"sync"
)

// ErrInUse reports a set that something else is changing.
var ErrInUse = errors.New("the set is being changed")

// claims are the sets that are being changed, by name, and what by: two changes of one set at once would each leave the
// other's out.
type claims struct {
	mu sync.Mutex
	by map[string]string
}

// take claims a set until release is called.
func (c *claims) take(name, by string) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, taken := c.by[name]; taken {
		return nil, fmt.Errorf("expert set %s: %s is not possible while %s is under way; wait for it, or cancel it: %w", name, by, now, ErrInUse)
	}
	if c.by == nil {
		c.by = map[string]string{}
	}
	c.by[name] = by
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.by, name)
	}, nil
}
