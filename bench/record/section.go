package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Section replaces the part of a Markdown page that belongs to the program, between marks with its name, or puts it at the
// end. Everything else on the page stays.
func Section(page, program, text string) error {
	begin, end := fmt.Sprintf("<!-- %s: written by bench/%s -->", program, program), fmt.Sprintf("<!-- %s: end -->", program)
	old, err := os.ReadFile(page)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# What was learned\n")
	} else if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, _ := strings.Cut(rest, end)
	if found != strings.Contains(string(old), end) {
		return fmt.Errorf("%s has only one of the marks %q and %q", page, begin, end)
	}
	if !found {
		before, after = strings.TrimRight(before, "\n")+"\n\n", "\n"
	}
	return replace(page, []byte(before+begin+"\n\n"+strings.TrimSpace(text)+"\n\n"+end+after))
}
