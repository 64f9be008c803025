package gguf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// The keys of a model that is split over several files, by llama.cpp's convention. The first file has the model's metadata,
// and each some of the tensors.
const (
	keySplit        = "split."
	keySplitNo      = "split.no"            // of the file, from 0
	keySplitCount   = "split.count"         // of files
	keySplitTensors = "split.tensors.count" // in all files together
)

// splitName is how the files are called; their numbers begin with 1 here.
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// Name returns the name of the model in a file: the file's without .gguf and, of one of several, without its number.
func Name(path string) string {
	base := filepath.Base(path)
	if m := splitName.FindStringSubmatch(base); m != nil {
		return m[1]
	}
	return strings.TrimSuffix(base, ".gguf")
}

// openParts opens the other files of the model that f, which is open at path, is a part of, and joins them. It closes f when
// it fails.
func openParts(f *File, path string) (*File, error) {
	no, err := f.Int(keySplitNo)
	var count int
	if err == nil {
		count, err = f.Int(keySplitCount)
	}
	name := splitName.FindStringSubmatch(filepath.Base(path))
	if err == nil && no >= count {
		err = fmt.Errorf("%s is %d of %d: %w", keySplitNo, no, count, ErrCorrupt)
	}
	if err == nil && (name == nil || name[2] != fmt.Sprintf("%05d", no+1) || name[3] != fmt.Sprintf("%05d", count)) {
		err = fmt.Errorf("it is part %d of %d of a model, so it is called NAME-%05d-of-%05d.gguf, and the other parts are found by that name (renamed?): %w", no+1, count, no+1, count, ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gguf: %s: %w", path, err), f.Close())
	}
	at := func(i int) string {
		return filepath.Join(filepath.Dir(path), fmt.Sprintf("%s-%05d-of-%05d.gguf", name[1], i+1, count))
	}
	var missing []string
	for i := range count {
		if _, err := os.Stat(at(i)); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, filepath.Base(at(i)))
		}
	}
	if n := len(missing); n > 0 {
		const most = 4
		which := strings.Join(missing[:min(n, most)], ", ")
		if n > most {
			which += " and " + strconv.Itoa(n-most) + " more"
		}
		return nil, errors.Join(fmt.Errorf("gguf: %s: of the model's %d parts %d are not beside it: %s: %w", path, count, n, which, os.ErrNotExist), f.Close())
	}
	parts, names := make([]*File, 0, count), make([]string, 0, count)
	for i := range count {
		p := f
		if i != no {
			if p, err = openFile(at(i)); err != nil {
				break
			}
		}
		parts, names = append(parts, p), append(names, at(i))
	}
	if err == nil {
		if f, err = join(parts, names); err == nil {
			return f, nil
		}
		err = fmt.Errorf("gguf: %w", err)
	}
	if len(parts) <= no {
		parts = append(parts, f)
	}
	for _, p := range parts {
		err = errors.Join(err, p.Close())
	}
	return nil, err
}

// join makes one file of a model's parts in their order; names are theirs, for errors.
func join(parts []*File, names []string) (*File, error) {
	all := &File{Meta: make(map[string]any, len(parts[0].Meta)), byName: map[string]int{}}
	for k, v := range parts[0].Meta {
		if !strings.HasPrefix(k, keySplit) {
			all.Meta[k] = v
		}
	}
	tensors, err := parts[0].Int(keySplitTensors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[0], err)
	}
	for i, p := range parts {
		if err := p.isPart(i, len(parts), tensors); err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
		for k, v := range p.Meta {
			if first, ok := all.Meta[k]; ok && k != keyAlignment && !reflect.DeepEqual(v, first) {
				return nil, fmt.Errorf("%s: %s is %.60v, and %.60v in the first part: parts of different models: %w", names[i], clip(k), v, first, ErrCorrupt)
			}
		}
		for _, t := range p.tensors {
			if at, twice := all.byName[t.Name]; twice {
				return nil, fmt.Errorf("%s: tensor %q is in %s too: %w", names[i], clip(t.Name), filepath.Base(names[all.tensors[at].part]), ErrCorrupt)
			}
			t.part = i
			all.byName[t.Name] = len(all.tensors)
			all.tensors = append(all.tensors, t)
		}
		all.parts = append(all.parts, p.parts...)
	}
	if n := len(all.tensors); n != tensors {
		return nil, fmt.Errorf("%s: the %d parts have %d tensors, and %s is %d: %w", names[0], len(parts), n, keySplitTensors, tensors, ErrCorrupt)
	}
	return all, nil
}

// isPart checks what a file says of itself as a part of a model.
func (f *File) isPart(no, count, tensors int) error {
	for _, want := range []struct {
		key   string
		value int
	}{{keySplitNo, no}, {keySplitCount, count}, {keySplitTensors, tensors}} {
		got, err := f.Int(want.key)
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", no+1, count, err)
		}
		if got != want.value {
			return fmt.Errorf("%s is %d, want %d (renamed, or a part of another model?): %w", want.key, got, want.value, ErrCorrupt)
		}
	}
	return nil
}
