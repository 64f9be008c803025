package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The names under which models and adapters are kept, by the convention of transformers and of Hugging Face PEFT.
const (
	configFile     = "config.json"
	tokenizerFile  = "tokenizer.json"
	weightsFile    = "model.safetensors"
	indexFile      = "model.safetensors.index.json"
	adapterConfig  = "adapter_config.json"
	adapterWeights = "adapter_model.safetensors"
	ggufSuffix     = ".gguf"
)

// beside are files that a model may have and can be without.
var beside = []string{"generation_config.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"}

// pickles are kinds of files that run code when they are read; they are never downloaded.
var pickles = []string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}

// Kind is what the files of a repository are.
type Kind string

// The kinds.
const (
	Safetensors Kind = "safetensors" // a model's directory
	Adapter     Kind = "adapter"     // an adapter's directory, as Hugging Face PEFT writes it
	GGUF        Kind = "gguf"        // one or more files, each a model or an adapter, or a part of a split one
	Other       Kind = "other"
)

// kindOf tells the kind of a directory with these files.
func kindOf(files []File) Kind {
	switch {
	case has(files, configFile) && (has(files, weightsFile) || has(files, indexFile)):
		return Safetensors
	case has(files, adapterConfig):
		return Adapter
	case len(ggufs(files)) > 0:
		return GGUF
	}
	return Other
}

// choose returns those of a repository's files that are needed. Of a model in several shards it has the index and no
// shards; shards finds them. With globs it returns the files that match one, in their path or, where the glob has no
// slash, in their name, and with a file of a split GGUF model all of that. Errors wrap ErrUnusable, ErrChoice, ErrNotFound,
// ErrCorrupt or ErrName.
func choose(repo string, all []File, globs []string) ([]File, error) {
	if len(globs) > 0 {
		return match(repo, all, globs)
	}
	var names []string
	switch kindOf(all) {
	case Safetensors:
		if !has(all, tokenizerFile) {
			return nil, fmt.Errorf("hub: %s has no %s, the only form of tokenizer that peft reads beside GGUF: %w", repo, tokenizerFile, ErrUnusable)
		}
		weights := weightsFile
		if has(all, indexFile) {
			weights = indexFile
		}
		names = append([]string{configFile, tokenizerFile, weights}, beside...)
	case Adapter:
		if !has(all, adapterWeights) {
			return nil, fmt.Errorf("hub: %s is an adapter without %s; it has %s: %w", repo, adapterWeights, list(all), ErrUnusable)
		}
		names = []string{adapterConfig, adapterWeights}
	case GGUF:
		g := ggufs(all)
		if !oneModel(g) {
			return nil, fmt.Errorf("hub: %s has %d GGUF files; name one with --file: %s: %w", repo, len(g), list(g), ErrChoice)
		}
		return wholeModels(repo, g, g)
	default:
		return nil, fmt.Errorf("hub: %s has neither safetensors with %s nor GGUF nor an adapter's files (pickles are never read); it has %s: %w", repo, configFile, list(all), ErrUnusable)
	}
	return slices.DeleteFunc(slices.Clone(all), func(f File) bool { return !slices.Contains(names, f.Path) }), nil
}

func match(repo string, all []File, globs []string) ([]File, error) {
	var picked []File
	for _, g := range globs {
		found := false
		for _, f := range all {
			name := f.Path
			if !strings.Contains(g, "/") {
				name = path.Base(name)
			}
			ok, err := path.Match(g, name)
			if err != nil {
				return nil, fmt.Errorf("hub: --file %q: %w: %w", g, ErrName, err)
			}
			if !ok || isPickle(f.Path) {
				continue
			}
			found = true
			if !slices.Contains(picked, f) {
				picked = append(picked, f)
			}
		}
		if !found {
			return nil, fmt.Errorf("hub: %s has no file %q (pickles are never read); it has %s: %w", repo, g, list(all), ErrNotFound)
		}
	}
	return wholeModels(repo, picked, all)
}

// shards returns the files that an index of safetensors names. Errors wrap ErrCorrupt or ErrName.
func shards(index []byte, all []File) ([]File, error) {
	var x struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &x); err != nil || len(x.WeightMap) == 0 {
		return nil, errors.Join(fmt.Errorf("hub: %s names no weights: %w", indexFile, ErrCorrupt), err)
	}
	names := map[string]bool{}
	for _, name := range x.WeightMap {
		if err := checkPath(name); err != nil {
			return nil, err
		}
		if isPickle(name) {
			return nil, fmt.Errorf("hub: %s names %q, want safetensors: %w", indexFile, name, ErrUnusable)
		}
		if !has(all, name) {
			return nil, fmt.Errorf("hub: %s names %q, which the repository does not have: %w", indexFile, name, ErrCorrupt)
		}
		names[name] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(f File) bool { return !names[f.Path] }), nil
}

func has(files []File, name string) bool {
	return slices.ContainsFunc(files, func(f File) bool { return f.Path == name })
}

func ggufs(files []File) []File {
	return slices.DeleteFunc(slices.Clone(files), func(f File) bool { return !strings.HasSuffix(f.Path, ggufSuffix) })
}

func isPickle(name string) bool { return slices.Contains(pickles, strings.ToLower(path.Ext(name))) }

// list writes the names of files for a message.
func list(files []File) string {
	const most = 30
	var names []string
	for _, f := range files[:min(most, len(files))] {
		name := f.Path
		if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) { // names are the server's
			name = strconv.Quote(name)
		}
		names = append(names, name)
	}
	s := strings.Join(names, ", ")
	if n := len(files) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	if s == "" {
		s = "no files"
	}
	return s
}
