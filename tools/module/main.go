// Module moves the tree in the working directory to another module path.
//
//	go run ./tools/module example.org/you/inbox
//
// It rewrites the go.mod files, the imports, and the import paths of public packages in the
// documentation. Moving back restores every file byte for byte.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// public lists the packages that the documentation refers to by import path.
var public = []string{
	"client", "cmd/inbox", "inboxhttp", "memstore", "memtopics", "peerjs", "redisstore", "redistopics",
	"storetest", "topichttp", "topicstest",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./tools/module MODULE")
		os.Exit(2)
	}
	if err := move(".", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "module:", err)
		os.Exit(1)
	}
}

// move rewrites the tree below root so that its module path is to.
func move(root, to string) error {
	// Paths without a domain, such as the tree's first path, are valid but not importable
	// from elsewhere.
	if err := module.CheckImportPath(to); err != nil {
		return fmt.Errorf("%w (try: example.org/you/inbox)", err)
	}
	source, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	from := modfile.ModulePath(source)
	if from == "" {
		return fmt.Errorf("%s: no module path", filepath.Join(root, "go.mod"))
	}
	if from == to {
		return nil
	}
	quoted := regexp.QuoteMeta(from)
	r := &renamer{
		from:       from,
		to:         to,
		required:   regexp.MustCompile(`(?m)(^|\s)` + quoted + `((?:/\S*)?\s)`),
		documented: regexp.MustCompile(`(^|[^\w./-])` + quoted + `/(` + strings.Join(public, "|") + `)\b`),
		imported:   regexp.MustCompile(`(?m)^(\s+)"` + quoted + `"$`),
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "build", "dist", "node_modules"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		return r.rewrite(path)
	})
}

// renamer replaces one module path with another.
type renamer struct {
	from, to   string
	required   *regexp.Regexp // the path of a module of this tree, in a go.mod
	documented *regexp.Regexp // the import path of a public package, in text
	imported   *regexp.Regexp // the import of the root package, in Go code in Markdown
}

// rewrite replaces the module path in one file. It leaves a file without it untouched.
func (r *renamer) rewrite(path string) error {
	var edit func(path string, source []byte) ([]byte, error)
	switch {
	case filepath.Base(path) == "go.mod":
		edit = r.modules
	case filepath.Ext(path) == ".go":
		edit = r.imports
	case filepath.Ext(path) == ".md":
		edit = r.markdown
	default:
		return nil
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	edited, err := edit(path, source)
	if err != nil || bytes.Equal(edited, source) {
		return err
	}
	return os.WriteFile(path, edited, 0o644)
}

// renamed returns the path that a package or nested module has after the move.
func (r *renamer) renamed(path string) string {
	if path == r.from || strings.HasPrefix(path, r.from+"/") {
		return r.to + path[len(r.from):]
	}
	return path
}

// text edits the import paths of public packages.
func (r *renamer) text(_ string, source []byte) ([]byte, error) {
	return r.documented.ReplaceAll(source, []byte("${1}"+r.to+"/${2}")), nil
}

// markdown edits import paths in text and in blocks of Go code.
func (r *renamer) markdown(path string, source []byte) ([]byte, error) {
	edited, err := r.text(path, source)
	return r.imported.ReplaceAll(edited, []byte("${1}\""+r.to+"\"")), err
}

// modules edits the paths of this tree's modules in a go.mod.
func (r *renamer) modules(_ string, source []byte) ([]byte, error) {
	return r.required.ReplaceAll(source, []byte("${1}"+r.to+"${2}")), nil
}

// imports edits the import declarations of Go source, and import paths in its comments.
func (r *renamer) imports(path string, source []byte) ([]byte, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	edited := bytes.Clone(source)
	for _, spec := range slices.Backward(file.Imports) {
		old, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if name := r.renamed(old); name != old {
			edited = splice(edited, files, spec.Path, strconv.Quote(name))
		}
	}
	edited, _ = r.text(path, edited)
	if bytes.Equal(edited, source) {
		return source, nil
	}
	return format.Source(edited) // which sorts the imports again
}

// splice replaces the source of node.
func splice(source []byte, files *token.FileSet, node ast.Node, text string) []byte {
	begin, end := files.Position(node.Pos()).Offset, files.Position(node.End()).Offset
	return slices.Concat(source[:begin], []byte(text), source[end:])
}
