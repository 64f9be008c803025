// Package builtin holds the small base model that is part of the program, so that everything can be tried without
// downloading anything. model/README.md says how it was trained.
package builtin

import (
	"embed"
	"errors"
	"fmt"
)

//go:embed model
var files embed.FS

// ErrAbsent reports a program built without the model.
var ErrAbsent = errors.New("this program was built without the built-in base")

// GGUF returns the model's file.
func GGUF() ([]byte, error) {
	b, err := files.ReadFile("model/base.gguf")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return b, nil
}
