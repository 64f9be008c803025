package study

import (
	"path/filepath"

	"github.com/gopeft/peft/bench/record"
)

// Section replaces the study's part of learning.md, which stands between its marks, or puts it at the end.
func (s *Study) Section(text string) error {
	return record.Section(filepath.Join(s.Out, "learning.md"), s.name, text)
}
