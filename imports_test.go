package peft_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gopeft/peft"

// layers lists, for each part of the tree, the parts it may import beside itself. The longest matching entry counts.
// Imports point downward only.
var layers = map[string][]string{
	"kernels":           {},
	"registry":          {},
	"hub":               {},
	"base":              {"kernels"},
	"retrieval":         {"kernels"},
	"adapters":          {"kernels"},
	"adapters/exchange": {"kernels", "base"},
	"adapters/peer":     {"kernels", "base", "retrieval", "registry", "adapters"},
	"adapters/transfer": {"kernels", "base", "retrieval", "registry", "adapters", "adapters/exchange", "adapters/peer"},
	"adapters/tune":     {"kernels", "base", "retrieval", "registry", "adapters", "adapters/peer"},
	"adapters/pretrain": {"kernels", "base", "retrieval", "registry", "adapters", "adapters/peer"},
	".":                 {"hub", "kernels", "base", "retrieval", "registry", "adapters", "adapters/exchange", "adapters/peer", "adapters/transfer", "adapters/tune", "adapters/pretrain"},
	"cmd":               {".", "hub", "kernels", "base", "retrieval", "registry", "adapters", "adapters/exchange", "adapters/peer", "adapters/transfer", "adapters/tune", "adapters/pretrain"},
	"bench":             {".", "cmd", "kernels", "base", "retrieval", "registry", "adapters", "adapters/exchange", "adapters/peer", "adapters/transfer", "adapters/tune", "adapters/pretrain"},
	"examples":          {"."},
}

// layer returns the entry of layers that a package (relative to the module, "." for the root) belongs to.
func layer(pkg string) (string, bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if _, ok := layers[p]; ok {
			return p, true
		}
	}
	return ".", pkg == "."
}

// TestImportsPointDownward reads every Go file of the module, tests and files behind build tags included.
func TestImportsPointDownward(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && file != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		files++
		pkg := filepath.ToSlash(filepath.Dir(file))
		own, ok := layer(pkg)
		if !ok {
			t.Errorf("%s: package %s has no place in the layers; top level is adapters, base, cmd, examples, hub, kernels, registry, retrieval, bench", file, pkg)
			return nil
		}
		for word := range strings.SplitSeq("util utils common helpers misc", " ") {
			if path.Base(pkg) == word {
				t.Errorf("package %s has a name that says nothing", pkg)
			}
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			checkImport(t, file, own, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("saw %d files: the test does not run in the module's root", files)
	}
}

func checkImport(t *testing.T, file, own, imp string) {
	if imp != module && !strings.HasPrefix(imp, module+"/") {
		return
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
	if rel == "" {
		rel = "."
	}
	to, _ := layer(rel)
	if to == own {
		return
	}
	for _, ok := range layers[own] {
		if ok == to {
			return
		}
	}
	t.Errorf("%s imports %s: %s may import only %v", file, imp, own, layers[own])
}
