package batch

import (
	"context"
	"sync"
)

// outbox hands a sequence's tokens from the scheduler, which never waits, to the caller, who may be slow.
type outbox struct {
	signal chan struct{} // of one

	mu     sync.Mutex
	tokens []Token
	done   bool
	stop   string
	err    error
}

func (o *outbox) put(t Token) {
	o.mu.Lock()
	o.tokens = append(o.tokens, t)
	o.mu.Unlock()
	o.wake()
}

// end is the last call; only the first end counts.
func (o *outbox) end(stop string, err error) {
	o.mu.Lock()
	if !o.done {
		o.done, o.stop, o.err = true, stop, err
	}
	o.mu.Unlock()
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// drain hands on tokens until the sequence ends, ctx does or emit fails.
func (o *outbox) drain(ctx context.Context, emit func(Token) error) (string, error) {
	var some []Token
	for {
		o.mu.Lock()
		some, o.tokens = o.tokens, some[:0]
		done, stop, err := o.done, o.stop, o.err
		o.mu.Unlock()
		for _, t := range some {
			if emit != nil {
				if err := emit(t); err != nil {
					return "", err
				}
			}
		}
		if done {
			return stop, err
		}
		select {
		case <-o.signal:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
