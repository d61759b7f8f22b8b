package inbox_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport mirrors the import table of docs/architecture.md: the packages of this module
// that each package may import. The root package imports only the standard library. A new
// package needs a line here and a room in that document.
var mayImport = map[string][]string{
	".":                   {},
	"memstore":            {".", "internal/meter", "internal/shrink"},
	"redisstore":          {".", "internal/meter", "internal/redislink", "internal/shrink"},
	"storetest":           {"."},
	"memtopics":           {".", "internal/shrink"},
	"redistopics":         {".", "internal/redislink", "internal/shrink", "memtopics"},
	"topicstest":          {"."},
	"topichttp":           {".", "internal/browser", "internal/clientaddr", "internal/flight", "internal/gate", "internal/jsontext", "internal/limit", "internal/meter", "internal/park", "internal/problem", "internal/shrink", "internal/socket"},
	"inboxhttp":           {".", "internal/browser", "internal/clientaddr", "internal/flight", "internal/jsontext", "internal/limit", "internal/meter", "internal/outcome", "internal/park", "internal/problem", "internal/server", "internal/socket", "internal/throttle"},
	"client":              {".", "internal/problem"},
	"peerjs":              {".", "internal/browser", "internal/clientaddr", "internal/flight", "internal/gate", "internal/jsontext", "internal/limit", "internal/meter", "internal/park", "internal/problem", "internal/shrink", "internal/socket", "internal/throttle"},
	"web":                 {},
	"internal/acme":       {},
	"internal/browser":    {},
	"internal/check":      {},
	"internal/clientaddr": {},
	"internal/guard":      {".", "internal/limit", "internal/meter", "internal/problem"},
	"internal/flight":     {"internal/limit", "internal/problem"},
	"internal/gate":       {"internal/browser", "internal/clientaddr", "internal/limit", "internal/meter", "internal/park", "internal/problem", "internal/socket"},
	"internal/jsontext":   {},
	"internal/limit":      {"internal/clientaddr", "internal/meter", "internal/problem", "internal/shrink"},
	"internal/meter":      {},
	"internal/outcome":    {},
	"internal/metrics":    {"internal/meter"},
	"internal/park":       {"internal/shrink"},
	"internal/problem":    {"."},
	"internal/redislink":  {},
	"internal/relay":      {"internal/limit", "internal/shrink", "internal/turncred"},
	"internal/server":     {"internal/clientaddr", "internal/limit", "internal/meter", "internal/park", "internal/throttle"},
	"internal/shrink":     {},
	"internal/socket":     {"internal/clientaddr", "internal/flight", "internal/park", "internal/problem"},
	"internal/throttle":   {},
	"internal/turncred":   {},
	// The only package that connects all the others.
	"cmd/inbox": {
		".",
		"client",
		"inboxhttp",
		"internal/acme",
		"internal/check",
		"internal/clientaddr",
		"internal/flight",
		"internal/guard",
		"internal/limit",
		"internal/meter",
		"internal/metrics",
		"internal/outcome",
		"internal/problem",
		"internal/redislink",
		"internal/relay",
		"internal/server",
		"internal/throttle",
		"internal/turncred",
		"memstore",
		"memtopics",
		"peerjs",
		"redisstore",
		"redistopics",
		"topichttp",
		"web",
	},
	"docs":         {}, // tests only
	"tools/module": {},
	"tools/words":  {},
	// Examples and test support.
	"examples":           {},
	"examples/chat":      {"client"},
	"internal/acmetest":  {"internal/inboxtest"},
	"internal/inboxtest": {"."},
	"internal/redistest": {"internal/inboxtest"},
}

type goPackage struct {
	ImportPath string
	Imports    []string // without those of tests
	Module     struct{ Path string }
}

// dir returns the directory of a package of this module, "." for the root, from its import
// path. It returns "" for other packages.
func (p goPackage) dir(importPath string) string {
	if importPath == p.Module.Path {
		return "."
	}
	dir, ours := strings.CutPrefix(importPath, p.Module.Path+"/")
	if !ours {
		return ""
	}
	return dir
}

func packages(t *testing.T) []goPackage {
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Module", "./...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestPackagesImportOnlyAllowedPackages(t *testing.T) {
	for _, p := range packages(t) {
		dir := p.dir(p.ImportPath)
		may, known := mayImport[dir]
		if !known {
			t.Errorf("%s is new: add a line to mayImport in this test and a room to docs/architecture.md", dir)
			continue
		}
		for _, imported := range p.Imports {
			if ours := p.dir(imported); ours != "" && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s, which docs/architecture.md does not allow", dir, ours)
			}
			domain, _, _ := strings.Cut(imported, "/")
			if library := strings.Contains(domain, "."); library && dir == "." && p.dir(imported) == "" {
				t.Errorf("the root package imports %s, want only the standard library", imported)
			}
		}
	}
}

// A file that grows beyond the limit covers more than one subject.
func TestFilesStayShort(t *testing.T) {
	const limit = 500
	skip := []string{".git", "node_modules", "build", "dist"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(skip, d.Name()) {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go", ".js", ".ts":
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if n := strings.Count(string(content), "\n"); n > limit {
				t.Errorf("%s has %d lines, want at most %d", path, n, limit)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
