package hub

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// splitName is the name of one of the files of a GGUF model that is split over several.
var splitName = regexp.MustCompile(`^(.*-)\d{5}-of-(\d{5})\.gguf$`)

// modelOf returns what the files of a split model have in common, and how many there are; of another file its path, and 1.
func modelOf(name string) (model string, parts int) {
	m := splitName.FindStringSubmatch(name)
	if m == nil {
		return name, 1
	}
	parts, _ = strconv.Atoi(m[2])
	return m[1] + m[2], parts
}

// oneModel reports whether there are GGUF files, all of one model.
func oneModel(g []File) bool {
	return len(g) > 0 && !slices.ContainsFunc(g, func(f File) bool {
		first, _ := modelOf(g[0].Path)
		model, _ := modelOf(f.Path)
		return model != first
	})
}

// wholeModels adds to the picked files the other files of split models. Where the repository does not have them all the
// error wraps ErrCorrupt.
func wholeModels(repo string, picked, all []File) ([]File, error) {
	whole := slices.Clone(picked)
	for _, f := range picked {
		model, want := modelOf(f.Path)
		if want == 1 {
			continue
		}
		n := 0
		for _, o := range all {
			if m, _ := modelOf(o.Path); m != model {
				continue
			}
			if n++; !has(whole, o.Path) {
				whole = append(whole, o)
			}
		}
		if n != want {
			return nil, fmt.Errorf("hub: %s has %d files of the model that %s is a part of, want %d: %w", repo, n, f.Path, want, ErrCorrupt)
		}
	}
	return whole, nil
}
