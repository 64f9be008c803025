package peer

import "errors"

// Errors that others wrap.
var (
	ErrOtherRouter = errors.New("the set belongs to another router")
	ErrUnknownKind = errors.New("unknown kind of expert")
	ErrPlace       = errors.New("experts cannot stand there")
	ErrNoHits      = errors.New("the set was not trained yet, so how often its experts are selected is not known")
	ErrCorrupt     = errors.New("corrupt expert set")
)
