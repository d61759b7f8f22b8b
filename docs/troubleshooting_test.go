package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"inbox/internal/problem"
)

// logging maps the methods that log to the index of the message among their arguments.
var logging = map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "Debugf": 0, "Infof": 0, "Warnf": 0, "Errorf": 0, "Log": 2}

// messages are the functions whose results other functions log.
var messages = []string{"isFull"}

var (
	verb     = regexp.MustCompile(`%[-+#0-9.]*[a-z]`)
	letters  = regexp.MustCompile(`[a-z]{3}`)
	ellipsis = regexp.MustCompile(`…[…\s]*…`)
)

// logLines returns the message of every log call of the program, with … for each part that
// is not constant.
func logLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	add := func(message string) {
		if message = ellipsis.ReplaceAllString(message, "…"); letters.MatchString(message) {
			lines = append(lines, message)
		}
	}
	for _, dir := range []string{"cmd/inbox", "inboxhttp", "peerjs", "memstore", "redisstore", "internal", "web"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "node_modules" || strings.HasSuffix(entry.Name(), "test")) {
				return fs.SkipDir
			}
			if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for node := range ast.Preorder(file) {
				switch node := node.(type) {
				case *ast.CallExpr:
					if function, ok := node.Fun.(*ast.SelectorExpr); ok && !isPackage(function.X, "fmt", "http") {
						if i, ok := logging[function.Sel.Name]; ok && len(node.Args) > i {
							add(constant(node.Args[i]))
						}
					}
				case *ast.FuncDecl:
					if slices.Contains(messages, node.Name.Name) {
						for node := range ast.Preorder(node.Body) {
							if result, ok := node.(*ast.ReturnStmt); ok && len(result.Results) > 0 {
								add(constant(result.Results[0]))
							}
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func isPackage(e ast.Expr, names ...string) bool {
	name, ok := e.(*ast.Ident)
	return ok && slices.Contains(names, name.Name)
}

// constant returns the text of an expression, with … for parts that vary.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		return constant(e.X) + constant(e.Y)
	case *ast.CallExpr:
		if function, ok := e.Fun.(*ast.SelectorExpr); ok && function.Sel.Name == "Sprintf" {
			return verb.ReplaceAllString(constant(e.Args[0]), "…")
		}
	}
	return "…"
}

// compare fails for each text that only one of code and documented has.
func compare(t *testing.T, what string, code, documented []string) {
	t.Helper()
	if len(code) < 5 {
		t.Fatalf("only %d: the test does not find them", len(code))
	}
	for _, text := range code {
		if !slices.Contains(documented, text) {
			t.Errorf("docs/troubleshooting.md lacks the %s %q", what, text)
		}
	}
	for i, text := range documented {
		if !slices.Contains(code, text) {
			t.Errorf("docs/troubleshooting.md has the %s %q, and the code has not", what, text)
		}
		if slices.Contains(documented[:i], text) {
			t.Errorf("docs/troubleshooting.md has the %s %q twice", what, text)
		}
	}
}

// rows returns the first cell, without its backquotes, of each row below a heading of
// docs/troubleshooting.md, up to the next heading of that level.
func rows(t *testing.T, heading string) []string {
	t.Helper()
	_, text, found := strings.Cut(read(t, "docs/troubleshooting.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/troubleshooting.md has no heading %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var cells []string
	for _, row := range regexp.MustCompile("(?m)^\\| (?:`` ?(.+?) ?``|`([^`]+)`) \\|").FindAllStringSubmatch(text, -1) {
		cells = append(cells, row[1]+row[2])
	}
	return cells
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTroubleshootingHasEveryErrorCode(t *testing.T) {
	var codes []string
	for _, p := range append(slices.Clone(problem.All), problem.NotInbox, problem.ProxyAuth) {
		if !slices.Contains(codes, p.Code) {
			codes = append(codes, p.Code)
		}
	}
	_, union, _ := strings.Cut(read(t, "web/sdk/src/errors.ts"), "export type InboxErrorCode =")
	union, _, _ = strings.Cut(union, ";")
	for _, code := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(union, -1) {
		if !slices.Contains(codes, code[1]) {
			codes = append(codes, code[1])
		}
	}
	codes = append(codes, "http-502") // stands for http-${number}
	compare(t, "error code", codes, rows(t, "Error codes"))

	_, union, _ = strings.Cut(read(t, "web/sdk/src/call-error.ts"), "export type CallErrorCode =")
	union, _, _ = strings.Cut(union, ";")
	var calls []string
	for _, code := range regexp.MustCompile(`"([a-z-]+)"`).FindAllStringSubmatch(union, -1) {
		calls = append(calls, code[1])
	}
	compare(t, "code of a call", calls, rows(t, "Codes of calls"))
}

func TestTroubleshootingHasEveryLineOfTheLog(t *testing.T) {
	compare(t, "line of the log", logLines(t), rows(t, "Lines of the log"))
}

func TestTroubleshootingHasEveryMessageOfTheSDK(t *testing.T) {
	var sentences []string
	for _, name := range []string{"errors.ts", "call-error.ts"} {
		_, table, _ := strings.Cut(read(t, "web/sdk/src/"+name), "const SENTENCES")
		table, _, _ = strings.Cut(table, "\n};")
		for _, match := range regexp.MustCompile(`(?m)^  "?[a-z-]+"?: "([^"]+)"`).FindAllStringSubmatch(table, -1) {
			sentences = append(sentences, strings.TrimSuffix(match[1], "."))
		}
	}
	sources, err := filepath.Glob(filepath.Join(root, "web/sdk/src/*.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range sources {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`(?s)new InboxError\(.*?\);`).FindAllString(string(source), -1) {
			for _, match := range regexp.MustCompile("[\"`]([A-Z][^\"`]{10,})[\"`]").FindAllStringSubmatch(call, -1) {
				sentence := regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllString(match[1], "…")
				sentences = append(sentences, strings.TrimSuffix(sentence, "."))
			}
		}
	}
	slices.Sort(sentences)
	compare(t, "message of the SDK", slices.Compact(sentences), rows(t, "Messages of the SDK"))
}
