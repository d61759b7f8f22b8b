package inbox_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Secrets are compared with Secret.Equal, which takes the same time wherever two secrets
// differ. The operators == and != stop at the first difference. They do so even for a
// struct that contains a secret, such as a Peer, and for a secret's bytes.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	files := token.NewFileSet()
	importing := importer.ForCompiler(files, "source", nil)
	for _, dir := range []string{".", "memstore", "internal/guard"} {
		var parsed []*ast.File
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, file)
		}
		info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
		config := types.Config{Importer: importing}
		if _, err := config.Check("inbox/"+dir, files, parsed, &info); err != nil {
			t.Fatal(err)
		}
		for _, file := range parsed {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr:
					if (n.Op == token.EQL || n.Op == token.NEQ) && holdsSecret(info.TypeOf(n.X)) {
						t.Errorf("%s: secrets are compared with %s: use Secret.Equal", files.Position(n.Pos()), n.Op)
					}
				case *ast.CallExpr:
					for _, arg := range n.Args {
						slice, ok := arg.(*ast.SliceExpr)
						if ok && holdsSecret(info.TypeOf(slice.X)) && !strings.HasSuffix(types.ExprString(n.Fun), "ConstantTimeCompare") &&
							!strings.HasSuffix(types.ExprString(n.Fun), "Sum") {
							t.Errorf("%s: the bytes of a secret are passed to %s", files.Position(n.Pos()), types.ExprString(n.Fun))
						}
					}
				}
				return true
			})
		}
	}
}

// holdsSecret reports whether comparing two values of type t compares secrets.
func holdsSecret(t types.Type) bool {
	if t == nil {
		return false
	}
	if named, ok := t.(*types.Named); ok && named.Obj().Name() == "Secret" {
		return true
	}
	switch t := t.Underlying().(type) {
	case *types.Struct:
		for field := range t.Fields() {
			if holdsSecret(field.Type()) {
				return true
			}
		}
	case *types.Array:
		return holdsSecret(t.Elem())
	}
	return false
}

// The Redis scripts compare secrets in a single place. Lua interns strings, so ==
// on them compares two addresses.
func TestScriptsCompareSecretsOnce(t *testing.T) {
	paths, err := filepath.Glob("redisstore/*.lua")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	n := 0
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(string(content), "secret ==") + strings.Count(string(content), "secret ~=")
	}
	if n != 1 {
		t.Errorf("the scripts compare secrets in %d places, want only admit in common.lua", n)
	}
}
