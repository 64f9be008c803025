package study

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Section replaces the study's part of learning.md, which stands between its marks, or puts it at the end.
func (s *Study) Section(text string) error {
	begin, end := fmt.Sprintf("<!-- %s: written by bench/%s -->", s.name, s.name), fmt.Sprintf("<!-- %s: end -->", s.name)
	path := filepath.Join(s.Out, "learning.md")
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# What was learned\n")
	} else if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if found != closed {
		return fmt.Errorf("%s has only one of the marks %q and %q", path, begin, end)
	}
	if !found {
		before, after = strings.TrimRight(before, "\n")+"\n\n", "\n"
	}
	return os.WriteFile(path, []byte(before+begin+"\n\n"+strings.TrimSpace(text)+"\n\n"+end+after), 0o644)
}
