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

// mayImport is the import table of docs/architecture.md: which packages of this
// module a package may import. The root package is the center, and imports the
// standard library alone. A new package needs a line here, and a room there.
var mayImport = map[string][]string{
	"inbox":                     {},
	"inbox/memstore":            {"inbox", "inbox/internal/meter", "inbox/internal/shrink"},
	"inbox/redisstore":          {"inbox", "inbox/internal/meter", "inbox/internal/redislink", "inbox/internal/shrink"},
	"inbox/storetest":           {"inbox"},
	"inbox/inboxhttp":           {"inbox", "inbox/internal/browser", "inbox/internal/clientaddr", "inbox/internal/flight", "inbox/internal/jsontext", "inbox/internal/limit", "inbox/internal/meter", "inbox/internal/outcome", "inbox/internal/park", "inbox/internal/problem", "inbox/internal/server", "inbox/internal/socket", "inbox/internal/throttle"},
	"inbox/client":              {"inbox", "inbox/internal/problem"},
	"inbox/peerjs":              {"inbox", "inbox/internal/browser", "inbox/internal/clientaddr", "inbox/internal/flight", "inbox/internal/jsontext", "inbox/internal/limit", "inbox/internal/meter", "inbox/internal/park", "inbox/internal/problem", "inbox/internal/shrink", "inbox/internal/socket", "inbox/internal/throttle"},
	"inbox/web":                 {},
	"inbox/internal/acme":       {},
	"inbox/internal/browser":    {},
	"inbox/internal/check":      {},
	"inbox/internal/clientaddr": {},
	"inbox/internal/guard":      {"inbox", "inbox/internal/limit", "inbox/internal/meter", "inbox/internal/problem"},
	"inbox/internal/flight":     {"inbox/internal/limit", "inbox/internal/problem"},
	"inbox/internal/jsontext":   {},
	"inbox/internal/limit":      {"inbox/internal/clientaddr", "inbox/internal/meter", "inbox/internal/problem", "inbox/internal/shrink"},
	"inbox/internal/meter":      {},
	"inbox/internal/outcome":    {},
	"inbox/internal/metrics":    {"inbox/internal/meter"},
	"inbox/internal/park":       {"inbox/internal/shrink"},
	"inbox/internal/problem":    {"inbox"},
	"inbox/internal/redislink":  {},
	"inbox/internal/relay":      {"inbox/internal/limit", "inbox/internal/shrink", "inbox/internal/turncred"},
	"inbox/internal/server":     {"inbox/internal/clientaddr", "inbox/internal/limit", "inbox/internal/meter", "inbox/internal/park", "inbox/internal/throttle"},
	"inbox/internal/shrink":     {},
	"inbox/internal/socket":     {"inbox/internal/clientaddr", "inbox/internal/flight", "inbox/internal/park", "inbox/internal/problem"},
	"inbox/internal/throttle":   {},
	"inbox/internal/turncred":   {},
	// The only place that knows more than one of the boxes.
	"inbox/cmd/inbox": {
		"inbox",
		"inbox/client",
		"inbox/inboxhttp",
		"inbox/internal/acme",
		"inbox/internal/check",
		"inbox/internal/clientaddr",
		"inbox/internal/flight",
		"inbox/internal/guard",
		"inbox/internal/limit",
		"inbox/internal/meter",
		"inbox/internal/metrics",
		"inbox/internal/outcome",
		"inbox/internal/problem",
		"inbox/internal/redislink",
		"inbox/internal/relay",
		"inbox/internal/server",
		"inbox/internal/throttle",
		"inbox/internal/turncred",
		"inbox/memstore",
		"inbox/peerjs",
		"inbox/redisstore",
		"inbox/web",
	},
	// For people to read.
	"inbox/examples":           {},
	"inbox/examples/chat":      {"inbox/client"},
	"inbox/internal/acmetest":  {"inbox/internal/inboxtest"},
	"inbox/internal/inboxtest": {"inbox"},
	"inbox/internal/redistest": {},
}

type goPackage struct {
	ImportPath string
	Imports    []string // not those of tests
}

func packages(t *testing.T) []goPackage {
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
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

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	for _, p := range packages(t) {
		may, known := mayImport[p.ImportPath]
		if !known {
			t.Errorf("%s is new: give it a line in mayImport of this test and a room in docs/architecture.md", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			ours := imported == "inbox" || strings.HasPrefix(imported, "inbox/")
			if ours && !slices.Contains(may, imported) {
				t.Errorf("%s imports %s, which it may not know: see docs/architecture.md", p.ImportPath, imported)
			}
			if library := strings.Contains(strings.SplitN(imported, "/", 2)[0], "."); library && p.ImportPath == "inbox" {
				t.Errorf("the center imports %s: it has the standard library alone", imported)
			}
		}
	}
}

// A file that grows beyond this has become two things.
func TestFilesStayShort(t *testing.T) {
	const most = 500
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
			if n := strings.Count(string(content), "\n"); n > most {
				t.Errorf("%s has %d lines, more than %d", path, n, most)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
