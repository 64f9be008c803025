package peer

import "errors"

// Errors that others wrap.
var (
	ErrOtherRouter = errors.New("the set belongs to another router")
	ErrUnknownKind = errors.New("unknown kind of expert")
	ErrCorrupt     = errors.New("corrupt expert set")
)
