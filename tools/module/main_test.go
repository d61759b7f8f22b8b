package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMove moves a copy of the tree to another module path, builds and tests it there, and
// moves it back.
func TestMove(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the tree a second time")
	}
	original := tree(t, "../..")
	from := strings.Fields(string(original["go.mod"]))[1]
	copied := t.TempDir()
	for name, content := range original {
		path := filepath.Join(copied, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	const to = "example.org/you/inbox" // as in docs/publishing.md
	if err := move(copied, to); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ dir, command string }{
		{".", "go vet ./..."},
		{".", "go build -o " + filepath.Join(t.TempDir(), "inbox") + " " + to + "/cmd/inbox"},
		{".", "go test -run TestPackagesImportOnlyAllowedPackages ."},
		{"bench", "go vet ./..."},
		{"matrix", "go vet ./..."},
		{"examples/pion", "go vet ./..."},
	} {
		command := exec.CommandContext(t.Context(), "sh", "-c", step.command)
		command.Dir = filepath.Join(copied, step.dir)
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("in %s after the move: %s: %v\n%s", step.dir, step.command, err, out)
		}
	}
	for name, content := range tree(t, copied) {
		if filepath.Ext(name) == ".go" && bytes.Contains(content, []byte("\t\""+from+"/")) {
			t.Errorf("%s still imports from %s", name, from)
		}
	}
	for name, path := range map[string]string{"examples/chat/README.md": to + "/client", "docs/go.md": `"` + to + `"`} {
		if !bytes.Contains(tree(t, copied)[name], []byte(path)) {
			t.Errorf("%s does not name %s after the move", name, path)
		}
	}

	if err := move(copied, from); err != nil {
		t.Fatal(err)
	}
	back := tree(t, copied)
	for name, content := range original {
		if !bytes.Equal(back[name], content) {
			t.Errorf("%s differs after the way back", name)
		}
	}
}

func TestMoveRefusesWhatCannotBeAModulePath(t *testing.T) {
	for _, to := range []string{"", "https://example.org/inbox", "example.org/you/inbox/", "example.org/my inbox"} {
		dir := t.TempDir()
		source := []byte("module inbox\n")
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), source, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := move(dir, to); err == nil {
			t.Errorf("moved to %q", to)
		}
		if after, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || !bytes.Equal(after, source) {
			t.Errorf("go.mod after a refused move to %q: %q, %v", to, after, err)
		}
	}
}

// tree returns the sources below root by their names. Files that are built are left out.
func tree(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch entry.Name() {
			case ".git", "build", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
