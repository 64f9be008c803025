package pretrain

import (
	"context"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/printer"
	"go/token"
	"html"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Document is one text of a corpus.
type Document struct {
	Name string // where it is from; decides whether it is held out
	Text string
}

// Sizes between which a document is kept, in bytes.
const (
	minDocument = 80
	maxText     = 1 << 20
)

// GOROOT asks the go command where its distribution is.
func GOROOT(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the Go distribution: go env GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Corpus extracts documents from the Go distribution in goroot (`go env GOROOT`; licence BSD-3-Clause, © The Go
// Authors): for each package its documentation, for each documented declaration its signature and comment as `go doc`
// prints them, some of them as question and answer, longer comments within function bodies, and the Markdown and HTML
// documents. The bodies themselves are left out: a model of a few million parameters does better at one of prose and
// code. So are tests, test data, generated files, vendored code of other authors, and a comment that has appeared before.
// The result depends on the distribution's content alone.
func Corpus(goroot string) ([]Document, error) {
	e := extractor{seen: map[string]bool{}}
	for _, dir := range []string{"src", "doc"} {
		root := filepath.Join(goroot, dir)
		if _, err := os.Stat(root); err != nil && dir == "src" {
			return nil, fmt.Errorf("read the Go distribution: %w (is %q the output of `go env GOROOT`?)", err, goroot)
		}
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil
				}
				return err
			}
			if d.IsDir() {
				if n := d.Name(); n == "testdata" || n == "github.com" || strings.HasPrefix(n, "_") || strings.HasPrefix(n, ".") {
					return filepath.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(goroot, file)
			if err != nil {
				return err
			}
			return e.file(file, filepath.ToSlash(rel))
		})
		if err != nil {
			return nil, fmt.Errorf("read the Go distribution: %w", err)
		}
	}
	if len(e.docs) == 0 {
		return nil, fmt.Errorf("no documents in %s: it holds no Go sources", goroot)
	}
	return e.docs, nil
}

// Split makes documents of some thousand bytes of a text, cut at empty lines. Each has a name of its own, so that some
// are held out.
func Split(name, text string) []Document {
	e := extractor{}
	e.prose(name, text)
	for i := range e.docs {
		e.docs[i].Name = fmt.Sprintf("%s#%d", name, i)
	}
	return e.docs
}

// extractor collects documents in the order of the walk.
type extractor struct {
	docs []Document
	seen map[string]bool // comments had already: ports to many systems repeat theirs
	n    int             // declarations had, which rotates the forms
}

func (e *extractor) file(file, rel string) error {
	switch ext := path.Ext(rel); {
	case strings.HasSuffix(rel, "_test.go") || path.Base(rel) == "CONTRIBUTORS":
		return nil
	case ext != ".go" && ext != ".md" && ext != ".html":
		return nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(src) > maxText {
		return nil
	}
	switch path.Ext(rel) {
	case ".md":
		e.prose(rel, string(src))
	case ".html":
		if strings.HasPrefix(rel, "doc/") {
			e.prose(rel, stripHTML(string(src)))
		}
	default:
		return e.source(rel, src)
	}
	return nil
}

func (e *extractor) add(name, text string) {
	text = strings.TrimSpace(text)
	if len(text) >= minDocument && strings.IndexByte(text, 0) < 0 {
		e.docs = append(e.docs, Document{Name: name, Text: text})
	}
}

// prose adds a text in parts of some thousand bytes, cut at empty lines.
func (e *extractor) prose(name, text string) {
	var part strings.Builder
	for para := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if para = strings.Trim(para, "\n"); para == "" {
			continue
		}
		part.WriteString(para + "\n\n")
		if part.Len() > 4000 {
			e.add(name, part.String())
			part.Reset()
		}
	}
	e.add(name, part.String())
}

var (
	htmlDrop  = regexp.MustCompile(`(?s)<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)>`)
	htmlTag   = regexp.MustCompile(`<[^>]*>`)
	manyLines = regexp.MustCompile(`\n[ \t]*\n\s*\n`)
)

func stripHTML(s string) string {
	s = htmlTag.ReplaceAllString(htmlDrop.ReplaceAllString(s, ""), "")
	return manyLines.ReplaceAllString(html.UnescapeString(s), "\n\n")
}

// source adds what a Go file documents.
func (e *extractor) source(rel string, src []byte) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil || ast.IsGenerated(f) || ignored(f) {
		return nil // such a file is no text of the distribution
	}
	p := filePrinter{extractor: e, fset: fset, src: src, pkg: f.Name.Name, path: strings.TrimPrefix(path.Dir(rel), "src/"), name: rel}
	if f.Doc != nil {
		p.packageDoc(f.Doc)
	}
	for _, d := range f.Decls {
		p.decl(d)
	}
	p.bodies(f)
	return nil
}

// ignored tells whether a file is marked `//go:build ignore`.
func ignored(f *ast.File) bool {
	for _, g := range f.Comments {
		for _, c := range g.List {
			if x, err := constraint.Parse(c.Text); err == nil && x.String() == "ignore" {
				return true
			}
		}
	}
	return false
}

// filePrinter turns one file's declarations into documents.
type filePrinter struct {
	*extractor
	fset            *token.FileSet
	src             []byte
	pkg, path, name string
}

// fresh returns a comment's text, empty when it is short or known.
func (p *filePrinter) fresh(g *ast.CommentGroup, least int) string {
	if g == nil {
		return ""
	}
	t := strings.TrimSpace(g.Text())
	if len(t) < least || p.seen[t] || strings.Contains(t, "All rights reserved") {
		return ""
	}
	p.seen[t] = true
	return t
}

func (p *filePrinter) packageDoc(g *ast.CommentGroup) {
	if t := p.fresh(g, 40); t != "" {
		p.prose(p.name, fmt.Sprintf("package %s // import %q\n\n%s", p.pkg, p.path, t))
	}
}

func (p *filePrinter) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		text := p.fresh(d.Doc, 30)
		if text == "" {
			return
		}
		head := *d
		head.Doc, head.Body = nil, nil
		p.form(p.print(&head), qualified(p.pkg, d), "do", text)
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return
		}
		if text := p.fresh(d.Doc, 30); text != "" {
			p.form(p.clip(p.text(d.Pos(), d.End())), "", "", text)
		}
		for _, s := range d.Specs {
			t, ok := s.(*ast.TypeSpec)
			if !ok || t.Doc == nil {
				continue
			}
			if text := p.fresh(t.Doc, 30); text != "" {
				p.form("type "+p.clip(p.text(t.Pos(), t.End())), p.pkg+"."+t.Name.Name, "mean", text)
			}
		}
	}
}

// form adds one declaration's documentation, one in four as a question and its answer.
func (p *filePrinter) form(signature, name, verb, text string) {
	p.n++
	if name != "" && p.n%4 == 0 {
		p.add(p.name, fmt.Sprintf("Question: What does %s %s?\nAnswer: %s", name, verb, text))
		return
	}
	p.add(p.name, signature+"\n\n"+text)
}

func qualified(pkg string, d *ast.FuncDecl) string {
	name := pkg + "."
	if d.Recv != nil && len(d.Recv.List) == 1 {
		t := d.Recv.List[0].Type
		for {
			switch x := t.(type) {
			case *ast.StarExpr:
				t = x.X
				continue
			case *ast.IndexExpr:
				t = x.X
				continue
			case *ast.IndexListExpr:
				t = x.X
				continue
			case *ast.Ident:
				name += x.Name + "."
			}
			break
		}
	}
	return name + d.Name.Name
}

// bodies adds longer comments that stand within functions or on their own.
func (p *filePrinter) bodies(f *ast.File) {
	for _, g := range f.Comments {
		if g.Pos() > f.Package {
			if t := p.fresh(g, 160); t != "" {
				p.add(p.name, t)
			}
		}
	}
}

func (p *filePrinter) text(from, to token.Pos) string {
	return string(p.src[p.fset.Position(from).Offset:p.fset.Position(to).Offset])
}

func (p *filePrinter) print(n ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, p.fset, n); err != nil {
		return ""
	}
	return b.String()
}

// clip shortens a declaration to its first lines; one with long lines is a table of numbers.
func (p *filePrinter) clip(s string) string {
	const lines, size = 24, 800
	parts := strings.SplitN(s, "\n", lines+1)
	n, kept := 0, 0
	for n < min(len(parts), lines) && kept+len(parts[n]) <= size {
		kept += len(parts[n]) + 1
		n++
	}
	if n == len(parts) {
		return s
	}
	return strings.Join(append(parts[:n:n], "\t..."), "\n")
}
